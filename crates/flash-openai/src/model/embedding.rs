//! A model that turns texts into vectors.
use super::{BoxFuture, error::ModelError};

/// A model that turns texts into vectors.
pub trait EmbeddingModel: Send + Sync + 'static {
    /// Numbers of a vector.
    fn dimensions(&self) -> usize;

    /// Whether the first numbers of a vector are an embedding too (Matryoshka). Only then may clients set `dimensions`;
    /// the API shortens vectors and scales them to length 1.
    fn can_shorten(&self) -> bool {
        false
    }

    /// One embedding for each text, in their order. The texts are at least one, and at most 2,048; none is empty.
    /// Dropping the future cancels what has not begun.
    ///
    /// # Errors
    ///
    /// A text that is too long is [`ModelError::context_length`], which names both numbers.
    fn embed(&self, texts: Vec<String>) -> BoxFuture<'_, Result<Vec<Embedding>, ModelError>>;
}

/// A text as a vector.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Embedding {
    /// As many numbers as [`EmbeddingModel::dimensions`].
    pub vector: Vec<f32>,
    /// Tokens of the text.
    pub tokens: usize,
}
