//! Models by the names that clients use.
use std::{collections::BTreeMap, sync::Arc};

use axum::Router;

use crate::{
    jobs::Jobs,
    model::{EmbeddingModel, TextModel},
    routes,
    served::{Model, Served},
};

/// The models of a worker, by the names that clients use in `model`.
///
/// ```no_run
/// # use std::sync::Arc;
/// # use flash_openai::{EmbeddingModel, Models, TextModel};
/// # fn served(chat: Arc<dyn TextModel>, embedder: Arc<dyn EmbeddingModel>) -> Result<(), flash_openai::ModelsError> {
/// let models = Models::new().text("smollm2-135m", chat).embedding("all-minilm-l6-v2", embedder);
/// let router: axum::Router = models.router()?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default)]
pub struct Models {
    /// `None`: the model has all names that are asked for.
    entries: Vec<(Option<String>, Model)>,
}

/// Why models cannot be served under their names.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ModelsError {
    /// There is no model.
    #[error("there is no model to serve: add one with `Models::text` or `Models::embedding`")]
    Empty,
    /// One name has two models.
    #[error("two models have the name `{0}`: give each its own")]
    Twice(String),
    /// One of several models has no name.
    #[error("a model without a name is the only one: give each of several models its name")]
    Unnamed,
    /// The names that the app declares are not those of the models.
    #[error(
        "the app declares the models {declared}, but the worker has {loaded}: use the same names in both places"
    )]
    Different {
        /// The declared names.
        declared: String,
        /// The names of the models.
        loaded: String,
    },
}

impl Models {
    /// No models yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// One language model, under all names that the app declares.
    pub fn of_text(model: Arc<dyn TextModel>) -> Self {
        Self { entries: vec![(None, Model::Text(model))] }
    }

    /// One embedding model, under all names that the app declares.
    pub fn of_embedding(model: Arc<dyn EmbeddingModel>) -> Self {
        Self { entries: vec![(None, Model::Embedding(model))] }
    }

    /// Adds a language model. To give it a second name, add it twice.
    #[must_use]
    pub fn text(mut self, name: impl Into<String>, model: Arc<dyn TextModel>) -> Self {
        self.entries.push((Some(name.into()), Model::Text(model)));
        self
    }

    /// Adds an embedding model.
    #[must_use]
    pub fn embedding(mut self, name: impl Into<String>, model: Arc<dyn EmbeddingModel>) -> Self {
        self.entries.push((Some(name.into()), Model::Embedding(model)));
        self
    }

    /// The routes: `/v1/models`, `/v1/chat/completions`, `/v1/completions`, `/v1/embeddings` and `/health`.
    ///
    /// # Errors
    ///
    /// If there is no model, two have one name, or one has none.
    pub fn router(self) -> Result<Router, ModelsError> {
        self.by_name(&[]).map(routes::router)
    }

    /// The routes, for models that have exactly the declared names. A platform knows them without a worker.
    ///
    /// # Errors
    ///
    /// As [`router`](Self::router), and if the names differ.
    pub fn router_for(self, declared: &[&str]) -> Result<Router, ModelsError> {
        let served = self.by_name(declared)?;
        let loaded: Vec<&str> = served.names().collect();
        let mut declared = declared.to_vec();
        declared.sort_unstable();
        declared.dedup();
        if declared != loaded {
            return Err(ModelsError::Different { declared: listed(&declared), loaded: listed(&loaded) });
        }
        Ok(routes::router(served))
    }

    /// The routes, for requests that come as jobs.
    ///
    /// # Errors
    ///
    /// As [`router`](Self::router).
    pub fn jobs(self) -> Result<Jobs, ModelsError> {
        self.router().map(Jobs::new)
    }

    fn by_name(self, declared: &[&str]) -> Result<Served, ModelsError> {
        let is_only = self.entries.len() == 1;
        let mut models = BTreeMap::new();
        for (name, model) in self.entries {
            let names = match name {
                Some(name) => vec![name],
                None if is_only && !declared.is_empty() => {
                    declared.iter().map(|&name| name.to_owned()).collect()
                }
                None => return Err(ModelsError::Unnamed),
            };
            for name in names {
                if models.insert(name.clone(), model.clone()).is_some() {
                    return Err(ModelsError::Twice(name));
                }
            }
        }
        if models.is_empty() {
            return Err(ModelsError::Empty);
        }
        Ok(Served::new(models))
    }
}

fn listed(names: &[&str]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}
