//! OpenAI's API over any model.
//!
//! A model implements [`TextModel`] or [`EmbeddingModel`]: tokens, text and vectors. This crate owns what clients of
//! OpenAI see: routes, JSON, server-sent events, statuses. It knows no model, no tensor and no platform.
#![warn(unreachable_pub)]

mod model;

pub use model::{
    BoxFuture, Embedding, EmbeddingModel, End, FinishReason, Generated, Generating, Generation, LogProb,
    Message, ModelError, ModelErrorKind, Piece, Role, Sampling, TextModel, TokenLogProb, Usage,
};
