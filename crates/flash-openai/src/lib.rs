//! OpenAI's API over any model.
//!
//! A model implements [`TextModel`] or [`EmbeddingModel`]: tokens, text and vectors. [`Models`] gives models their
//! names and makes the routes: an [`axum::Router`]. This crate owns what clients of OpenAI see: JSON, server-sent
//! events, statuses. It knows no model, no tensor and no platform.
//!
//! Requests are read (`request`), answers are formatted (`answer`), and `routes` puts both around a model.
#![warn(unreachable_pub)]

mod answer;
mod error;
mod host;
mod jobs;
mod model;
mod models;
mod request;
mod routes;
mod served;

pub use host::{Ended, Host, Watch, report_broken, report_loading, set_host};
pub use jobs::Jobs;
pub use model::{
    BoxFuture, BoxStream, Embedding, EmbeddingModel, End, FinishReason, Generated, Generating, Generation,
    LogProb, Message, ModelError, ModelErrorKind, Piece, Role, Sampling, TextModel, TokenLogProb, Usage,
};
pub use models::{Models, ModelsError};

#[cfg(test)]
mod tests;
