//! A language model as it is served: an engine with its scheduler, vocabulary and limits.
mod model;
mod options;

pub use model::LanguageModel;
pub use options::Options;
