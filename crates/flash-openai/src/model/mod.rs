//! What a model must do to be served.
//!
//! The line between the two sides: a model turns messages into tokens, samples, holds back stop strings and unfinished
//! characters, and counts. The API reads requests, checks limits, and formats what comes.
mod embedding;
mod error;
mod generation;
mod text;

pub use embedding::{Embedding, EmbeddingModel};
pub use error::{ModelError, ModelErrorKind};
pub use generation::{
    End, FinishReason, Generated, Generating, Generation, LogProb, Piece, Sampling, TokenLogProb, Usage,
};
pub use text::{Message, Role, TextModel};

/// A future that a trait with objects returns.
pub type BoxFuture<'a, T> = futures_util::future::BoxFuture<'a, T>;

/// A stream that a trait with objects returns.
pub type BoxStream<'a, T> = futures_util::stream::BoxStream<'a, T>;
