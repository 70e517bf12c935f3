//! One function, as the macro describes it and registers it.
use std::{any::TypeId, fmt, sync::OnceLock};

use flash_protocol::{ResourceConfig, Result, wire::Payload};
use futures_util::{future::BoxFuture, stream::BoxStream};

use super::{
    answered::Answered,
    argument::{Argument, Output},
    binding::Binding,
    input::Input,
    lifecycle::Lifecycle,
    route::Route,
    settings::FunctionSettings,
};

/// One `#[remote]` function, as the macro describes it.
#[derive(Debug)]
pub struct Function {
    /// Its name in the code.
    pub name: &'static str,
    /// The type, if it is a method.
    pub owner: Option<&'static str>,
    /// `module_path!()` of its source.
    pub module_path: &'static str,
    /// `file!()` of its source.
    pub file: &'static str,
    /// The line of its name.
    pub line: u32,
    /// Its doc comment.
    pub docs: &'static str,
    /// The worker type that it runs on.
    pub resource: Resource,
    /// Method and path, for a route.
    pub route: Option<Route>,
    /// What is set for it alone.
    pub settings: FunctionSettings,
    /// Its arguments, in order.
    pub arguments: &'static [Argument],
    /// The type of its result, or of one chunk.
    pub output: Output,
    /// Runs it.
    pub handler: Handler,
    /// The value whose method it is.
    pub lifecycle: Option<fn() -> &'static Lifecycle>,
    /// Where its arguments come from; computed at first use.
    pub binding: OnceLock<Binding>,
}

/// The worker type of a function.
#[derive(Debug, Clone, Copy)]
pub enum Resource {
    /// Configured here.
    Declared(ResourceConfig),
    /// Named here, configured at another function.
    Named(&'static str),
}

impl Resource {
    /// Name of the worker type.
    pub(crate) fn worker(self) -> &'static str {
        match self {
            Self::Declared(config) => config.name,
            Self::Named(name) => name,
        }
    }
}

/// How a function runs.
#[derive(Clone, Copy)]
pub enum Handler {
    /// One result.
    Once(fn(Input) -> BoxFuture<'static, Result<Answered>>),
    /// Chunks as they are produced; invalid arguments are refused before the first.
    Stream(fn(Input) -> Result<BoxStream<'static, Result<Payload>>>),
}

impl fmt::Debug for Handler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Once(_) => "Once",
            Self::Stream(_) => "Stream",
        })
    }
}

/// What the macro registers.
pub struct Registered {
    /// Returns the descriptor.
    pub function: fn() -> &'static Function,
    /// The type of the function that users call. Each function item has a type of its own.
    pub item: fn() -> TypeId,
}

inventory::collect!(Registered);

/// The type of a function item.
pub fn type_of<F: 'static>(_: &F) -> TypeId {
    TypeId::of::<F>()
}

impl Function {
    /// Where its arguments come from.
    pub(crate) fn binding(&self) -> &Binding {
        self.binding.get_or_init(|| Binding::of(self.route, self.arguments, &self.output))
    }

    /// Whether it is a route whose answer is the raw bytes of its result.
    pub(crate) fn answers_raw(&self) -> bool {
        self.route.is_some() && matches!(self.handler, Handler::Once(_)) && (self.output.is_bytes)()
    }

    /// Name of the worker type that it runs on.
    pub fn worker(&self) -> &'static str {
        self.resource.worker()
    }

    /// `Type::method` or `function`.
    pub fn call_name(&self) -> String {
        match self.owner {
            Some(owner) => format!("{owner}::{}", self.name),
            None => self.name.to_owned(),
        }
    }

    /// `worker_type/function`, as errors name it.
    pub fn stage(&self) -> String {
        format!("{}/{}", self.worker(), self.call_name())
    }

    /// Whether this name refers to this function.
    pub fn is_named(&self, name: &str) -> bool {
        match name.split_once("::") {
            Some((owner, method)) => self.owner == Some(owner) && self.name == method,
            None => self.name == name,
        }
    }

    /// Where it is in the source, as errors name it.
    pub(crate) fn place(&self) -> String {
        format!("{}:{}", self.file, self.line)
    }

    /// Module path below the crate, with `/`.
    pub(crate) fn module(&self) -> String {
        match self.module_path.split_once("::") {
            Some((_, below)) => below.replace("::", "/"),
            None => "main".to_owned(),
        }
    }
}
