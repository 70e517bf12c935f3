//! Models that are served, found by name.
use std::{collections::BTreeMap, fmt, sync::Arc};

use crate::{
    error::ApiError,
    model::{EmbeddingModel, TextModel},
};

/// A model of either kind.
#[derive(Clone)]
pub(crate) enum Model {
    Text(Arc<dyn TextModel>),
    Embedding(Arc<dyn EmbeddingModel>),
}

impl fmt::Debug for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Text(_) => "Text",
            Self::Embedding(_) => "Embedding",
        })
    }
}

/// Models that are served.
#[derive(Debug)]
pub(crate) struct Served {
    models: BTreeMap<String, Model>,
}

impl Served {
    pub(crate) fn new(models: BTreeMap<String, Model>) -> Self {
        Self { models }
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.models.keys().map(String::as_str)
    }

    /// A language model.
    ///
    /// # Errors
    /// 404 if there is none of this name, 400 if it is an embedding model.
    pub(crate) fn text(&self, name: &str) -> Result<Arc<dyn TextModel>, ApiError> {
        match self.find(name)? {
            Model::Text(model) => Ok(model.clone()),
            Model::Embedding(_) => Err(ApiError::invalid(
                "model",
                format!("`{name}` is an embedding model: it answers at /v1/embeddings"),
            )),
        }
    }

    /// An embedding model.
    ///
    /// # Errors
    /// 404 if there is none of this name, 400 if it is a language model.
    pub(crate) fn embedding(&self, name: &str) -> Result<Arc<dyn EmbeddingModel>, ApiError> {
        match self.find(name)? {
            Model::Embedding(model) => Ok(model.clone()),
            Model::Text(_) => Err(ApiError::invalid(
                "model",
                format!(
                    "`{name}` is a language model: it answers at /v1/chat/completions and /v1/completions"
                ),
            )),
        }
    }

    pub(crate) fn find(&self, name: &str) -> Result<&Model, ApiError> {
        self.models.get(name).ok_or_else(|| ApiError::unknown_model(name, self.names()))
    }
}
