//! A function that makes the router of a worker type, as the macro describes it and registers it.
use axum::Router;
use flash_protocol::{
    ModelEntry, ModelSource, Result,
    manifest::{HttpEntry, OPENAI_PREFIX},
};
use futures_util::future::BoxFuture;

use super::{function::Resource, lifecycle::Lifecycle};

/// A function marked `http`. It takes no calls: its worker type answers HTTP requests with its router.
#[derive(Debug)]
pub struct RouterFunction {
    /// Its name in the code.
    pub name: &'static str,
    /// The type, if it is a method.
    pub owner: Option<&'static str>,
    /// `file!()` of its source.
    pub file: &'static str,
    /// The line of its name.
    pub line: u32,
    /// Its doc comment.
    pub docs: &'static str,
    /// The worker type that it runs on.
    pub resource: Resource,
    /// The path that it owns, with everything below; `None` for all paths that nothing else takes.
    pub prefix: Option<&'static str>,
    /// For which models it answers OpenAI's API, if it does: by these names, or if there are none, by that of the worker
    /// type's model.
    pub models: Option<&'static [&'static str]>,
    /// Makes the router, once per worker, before the worker takes requests. Gets the names of the models.
    pub make: fn(Vec<String>) -> BoxFuture<'static, Result<Router>>,
    /// The life of the value, if it is a method.
    pub lifecycle: Option<fn() -> &'static Lifecycle>,
}

/// What the macro registers: a function that returns the descriptor.
pub struct RegisteredRouter(pub fn() -> &'static RouterFunction);

inventory::collect!(RegisteredRouter);

/// What an `http` function returns.
#[diagnostic::on_unimplemented(
    message = "an `http` function returns `axum::Router`, or a `Result` of it",
    label = "not an `axum::Router`",
    note = "a router that still needs its state gets it with `.with_state(state)`"
)]
pub trait IsRouter {
    /// The router itself.
    fn into_router(self) -> Router;
}

impl IsRouter for Router {
    fn into_router(self) -> Router {
        self
    }
}

/// What an `openai` function returns.
#[diagnostic::on_unimplemented(
    message = "an `openai` function returns `flash_sdk::openai::Models`, or a `Result` of it",
    label = "not `flash_sdk::openai::Models`",
    note = "`flash_sdk::openai` is there with the feature `openai` of `flash-sdk`"
)]
pub trait IsModels {
    /// The routes, for models that have exactly these names.
    ///
    /// # Errors
    /// If they have other names.
    fn into_router(self, names: &[String]) -> Result<Router>;
}

#[cfg(feature = "openai")]
impl IsModels for flash_openai::Models {
    fn into_router(self, names: &[String]) -> Result<Router> {
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        Ok(self.router_for(&names)?)
    }
}

impl RouterFunction {
    /// Name of the worker type that it runs on.
    pub(crate) fn worker(&self) -> &'static str {
        self.resource.worker()
    }

    /// `Type::method` or `function`.
    pub(crate) fn call_name(&self) -> String {
        match self.owner {
            Some(owner) => format!("{owner}::{}", self.name),
            None => self.name.to_owned(),
        }
    }

    /// `worker_type/function`, as errors name it.
    pub(crate) fn stage(&self) -> String {
        format!("{}/{}", self.worker(), self.call_name())
    }

    /// Where it is in the source, as errors name it.
    pub(crate) fn place(&self) -> String {
        format!("{}:{}", self.file, self.line)
    }

    /// The names of the models that it serves. `model` is that of its worker type.
    pub(crate) fn served(&self, model: Option<ModelSource>) -> Vec<String> {
        match self.models {
            None => Vec::new(),
            Some([]) => model.map(|model| ModelEntry::from(model).name().to_owned()).into_iter().collect(),
            Some(names) => names.iter().map(|&name| name.to_owned()).collect(),
        }
    }

    /// Its entry in the manifest. `model` is that of its worker type.
    pub(crate) fn entry(&self, model: Option<ModelSource>) -> HttpEntry {
        HttpEntry {
            prefix: match self.models {
                None => self.prefix.map(str::to_owned),
                Some(_) => Some(OPENAI_PREFIX.to_owned()),
            },
            models: self.served(model),
            function: self.call_name(),
            file: self.file.to_owned(),
            line: self.line,
            docs: self.docs.trim().to_owned(),
        }
    }
}
