//! Finds the sentences of a text that fit a question: CPU → GPU → CPU. The expensive worker runs only while the model does.
pub mod embedder;
pub mod ranking;
pub mod sentences;
