//! The attribute's arguments: parsed, then validated.
//!
//! It contains all rules for a single attribute. Hardware names are not checked here: they stay identifiers, which
//! the compiler looks up in `flash_sdk`.
mod function_settings;
mod keys;
mod schedule;
mod unknown;
mod values;
mod written;

use proc_macro2::{Span, TokenStream, TokenTree};
use syn::{Expr, Ident, LitStr, ext::IdentExt as _, spanned::Spanned as _};

pub(crate) use self::{function_settings::FunctionSettings, schedule::Schedule};
use self::{
    keys::Key,
    values::is_worker_name,
    written::{Entry, Written},
};
use crate::{
    errors::Errors,
    route::Route,
    router::{Makes, Serves},
};

/// The validated arguments of an attribute.
pub(crate) struct RemoteArgs {
    pub(crate) resource: Resource,
    pub(crate) route: Option<Route>,
    /// For a function that makes a router: which requests it gets.
    pub(crate) serves: Option<Serves>,
    /// What is set for this function alone.
    pub(crate) function: FunctionSettings,
}

/// The worker type.
pub(crate) enum Resource {
    /// Configured in the attribute.
    Declared(Box<Config>),
    /// Configured by a constant.
    Constant(Box<Expr>),
    /// Configured elsewhere under this name.
    Named(String),
}

/// The configuration of a worker type. `None` stands for the default of `flash_sdk`.
pub(crate) struct Config {
    pub(crate) name: String,
    pub(crate) compute: Compute,
    pub(crate) workers: Option<(u32, u32)>,
    pub(crate) idle_timeout: Option<u32>,
    pub(crate) execution_timeout: Option<u32>,
    pub(crate) start_timeout: Option<u32>,
    pub(crate) max_concurrency: Option<u32>,
    pub(crate) scaler: Option<Scaler>,
    pub(crate) buffer: Option<u32>,
    /// Whether each job has a fresh worker.
    pub(crate) is_task: bool,
    pub(crate) data_centers: Vec<Ident>,
    pub(crate) disk_gib: Option<u32>,
    pub(crate) shm_mib: Option<u32>,
    /// On each GPU. The const builder checks it against the GPUs.
    pub(crate) vram_gib: Option<Memory>,
    pub(crate) max_body_mib: Option<u32>,
    pub(crate) request_timeout: Option<u32>,
    pub(crate) model: Option<Model>,
}

/// An amount of memory of a GPU, and where it is written.
pub(crate) struct Memory {
    pub(crate) gib: u32,
    pub(crate) span: Span,
}

/// The model that workers load. Its parts are checked by the const builder.
pub(crate) struct Model {
    pub(crate) reference: LitStr,
    pub(crate) files: Vec<LitStr>,
}

/// The hardware, by the names of the variants in `flash_sdk`.
pub(crate) enum Compute {
    Cpu(Vec<Ident>),
    Gpu {
        pools: Vec<Ident>,
        types: Vec<Ident>,
        count: Option<u32>,
    },
    /// Any GPU with the memory that workers need.
    AnyGpu {
        count: Option<u32>,
    },
}

/// How the number of workers follows the load.
pub(crate) enum Scaler {
    QueueDelay(u32),
    RequestCount(u32),
}

/// The item that the attribute is on, as far as its arguments depend on it.
pub(crate) enum Place {
    /// A function. Its name is the default name of its worker type.
    Function(Ident),
    /// An `impl` of a type. The type's name in snake case is the default name of its worker type.
    Impl { worker: String, span: Span },
    /// An item that cannot have the attribute; already reported.
    Elsewhere,
}

impl RemoteArgs {
    /// Whether it declares a task.
    pub(crate) fn is_task(&self) -> bool {
        matches!(&self.resource, Resource::Declared(config) if config.is_task)
    }

    /// The arguments of `#[remote]`; `None` if any is invalid.
    pub(crate) fn parse(tokens: TokenStream, place: &Place, errors: &Errors) -> Option<Self> {
        let known = errors.count();
        let written = Written::parse(tokens, Key::ALL, Span::call_site(), errors);
        let broken = errors.count() > known;
        let resource = written.resource(place, broken, errors);
        let (route, serves, function) = match place {
            Place::Impl { .. } => {
                written.refuse_settings_of_functions(errors);
                (None, None, FunctionSettings::default())
            }
            _ => {
                let serves = written.serves(errors);
                let route = written.route(errors);
                (route, serves, written.function_settings(errors))
            }
        };
        (errors.count() == known).then_some(Self { resource: resource?, route, serves, function })
    }

    /// Replaces invalid arguments, so that the item's public functions still exist and calls to them cause no further
    /// errors.
    pub(crate) fn stand_in() -> Self {
        let resource = Resource::Named(String::new());
        Self { resource, route: None, serves: None, function: FunctionSettings::default() }
    }
}

/// What a function makes whose arguments say that it makes a router: its signature has other rules.
pub(crate) fn makes(tokens: &TokenStream) -> Option<Makes> {
    let mut begins = true;
    tokens.clone().into_iter().find_map(|token| {
        let found = match &token {
            TokenTree::Ident(name) if begins && name == "http" => Some(Makes::Router),
            TokenTree::Ident(name) if begins && name == "openai" => Some(Makes::Models),
            _ => None,
        };
        begins = matches!(&token, TokenTree::Punct(mark) if mark.as_char() == ',');
        found
    })
}

/// The arguments of `#[route]` on a method; `None` if any is invalid.
pub(crate) fn parse_route(attribute: &syn::Attribute, errors: &Errors) -> Option<Route> {
    let known = errors.count();
    let written = Written::parse(arguments_of(attribute), Key::OF_ROUTE, attribute.span(), errors);
    if errors.count() == known && written.entries.is_empty() {
        errors.on(attribute, "a route needs both: `#[route(method = POST, path = \"/classify\")]`");
    }
    written.route(errors)
}

/// The arguments of `#[job]` on a method.
pub(crate) fn parse_job(attribute: &syn::Attribute, errors: &Errors) -> FunctionSettings {
    let known = errors.count();
    let written = Written::parse(arguments_of(attribute), Key::OF_JOB, attribute.span(), errors);
    if errors.count() == known && written.entries.is_empty() {
        errors.on(attribute, "a job without settings needs no attribute: `#[job(retries = 3)]`");
    }
    written.function_settings(errors)
}

fn arguments_of(attribute: &syn::Attribute) -> TokenStream {
    match &attribute.meta {
        syn::Meta::List(list) => list.tokens.clone(),
        _ => TokenStream::new(),
    }
}

impl Written {
    fn settings(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter().filter(|entry| entry.key.is_setting())
    }

    /// `broken`: an entry was invalid, so missing settings are not reported.
    fn resource(&self, place: &Place, broken: bool, errors: &Errors) -> Option<Resource> {
        if let Some(constant) = self.get(Key::Resource) {
            for other in
                self.entries.iter().filter(|entry| entry.key.is_setting() || entry.key == Key::Worker)
            {
                errors.on(
                    &other.name,
                    format!(
                        "`resource` configures the whole worker type: set `{}` in the constant",
                        other.name
                    ),
                );
            }
            return Some(Resource::Constant(Box::new(constant.value.clone())));
        }
        let worker = self.get(Key::Worker).map(|entry| entry.worker_name(errors));
        if self.settings().next().is_none()
            && let Some(name) = worker
        {
            return name.map(Resource::Named);
        }
        let name = match worker {
            Some(name) => name,
            None => default_worker(place, errors),
        };
        let compute = self.compute(broken, errors);
        // All are read first, so that each reports its own errors.
        let workers = self.get(Key::Workers).map(|entry| entry.workers(errors));
        let number = |key, range| self.get(key).map(|entry: &Entry| entry.number(range, errors));
        let idle_timeout = number(Key::IdleTimeout, 1..=3600);
        let execution_timeout = number(Key::ExecutionTimeout, 1..=7 * 24 * 3600);
        let start_timeout = number(Key::StartTimeout, 1..=24 * 3600);
        let max_concurrency = number(Key::MaxConcurrency, 1..=10_000);
        let disk_gib = number(Key::DiskGib, 1..=10_000);
        let shm_mib = number(Key::ShmMib, 1..=1 << 20);
        let max_body_mib = number(Key::MaxBodyMib, 1..=10 * 1024);
        let request_timeout = number(Key::RequestTimeout, 1..=7 * 24 * 3600);
        let model = self.model(errors);
        let memory = self.get(Key::VramGib);
        let vram_gib = memory.and_then(|entry| {
            Some(Memory { gib: entry.number(1..=u32::MAX, errors)?, span: entry.value.span() })
        });
        let scaler = self.scaler(errors);
        let buffer = number(Key::Buffer, 1..=1000);
        let is_task = self.is_task(workers.flatten(), errors);
        let data_centers = self.get(Key::DataCenters).map(|entry| entry.variants(errors));
        Some(Resource::Declared(Box::new(Config {
            name: name?,
            compute: compute?,
            workers: workers.flatten(),
            idle_timeout: idle_timeout.flatten(),
            execution_timeout: execution_timeout.flatten(),
            start_timeout: start_timeout.flatten(),
            max_concurrency: max_concurrency.flatten(),
            scaler,
            buffer: buffer.flatten(),
            is_task,
            data_centers: data_centers.flatten().unwrap_or_default(),
            disk_gib: disk_gib.flatten(),
            shm_mib: shm_mib.flatten(),
            vram_gib,
            max_body_mib: max_body_mib.flatten(),
            request_timeout: request_timeout.flatten(),
            model,
        })))
    }

    fn compute(&self, broken: bool, errors: &Errors) -> Option<Compute> {
        let of_cpu = |entry: &&Entry| entry.key == Key::Cpu;
        let of_gpu = |entry: &&Entry| matches!(entry.key, Key::Gpu | Key::GpuTypes | Key::VramGib);
        let first = self.entries.iter().find(|entry| of_cpu(entry) || of_gpu(entry));
        let Some(first) = first else {
            match self.get(Key::GpuCount) {
                Some(count) => {
                    errors.on(&count.name, "`gpu_count` needs `gpu = …` or `gpu_types = …` beside it")
                }
                None if broken => {}
                None => errors.at(
                    self.settings().next().map_or(self.whole, |entry| entry.name.span()),
                    "no hardware is set: add `cpu = …`, `gpu = …` or `resource = CONST`, or use `worker = \
                     \"…\"` alone to name a worker type configured elsewhere",
                ),
            }
            return None;
        };
        let conflict = self.entries.iter().find(|entry| match first.key {
            Key::Cpu => of_gpu(entry),
            _ => of_cpu(entry),
        });
        if let Some(second) = conflict {
            errors.on(
                &second.name,
                format!("a worker type is CPU or GPU, not both: `{}` is already set", first.name),
            );
        }
        let variants = |key| self.get(key).map(|entry: &Entry| entry.variants(errors));
        let (cpus, pools, types) = (variants(Key::Cpu), variants(Key::Gpu), variants(Key::GpuTypes));
        let count = self.get(Key::GpuCount).map(|entry| {
            if first.key == Key::Cpu && conflict.is_none() {
                errors.on(&entry.name, "`gpu_count` needs a GPU, but this is a CPU worker type");
            }
            entry.number(1..=8, errors)
        });
        match cpus {
            Some(instances) => Some(Compute::Cpu(instances?)),
            None if pools.is_none() && types.is_none() => Some(Compute::AnyGpu { count: count.flatten() }),
            None => Some(Compute::Gpu {
                pools: pools.flatten().unwrap_or_default(),
                types: types.flatten().unwrap_or_default(),
                count: count.flatten(),
            }),
        }
    }

    /// The requests of the router that the function makes. Everything about single functions is refused beside it.
    fn serves(&self, errors: &Errors) -> Option<Serves> {
        let (entry, makes) = match (self.get(Key::Http), self.get(Key::OpenAi)) {
            (Some(_), Some(openai)) => {
                let message = "a worker type answers HTTP with one router: remove `http` or `openai`, or merge \
                               `Models::router` into the router";
                errors.on(&openai.name, message);
                return None;
            }
            (Some(http), None) => (http, Makes::Router),
            (None, Some(openai)) => (openai, Makes::Models),
            (None, None) => return None,
        };
        for other in &self.entries {
            if Key::OF_ROUTE.contains(&other.key) {
                let message = format!(
                    "the router has its own paths and methods: remove this, or remove `{}` and return the result of \
                     one route",
                    entry.name
                );
                errors.on(&other.name, message);
            } else if Key::OF_JOB.contains(&other.key) {
                errors.on(&other.name, format!("`{}` is for jobs, and a router takes none", other.name));
            }
        }
        Serves::parse(makes, &entry.value, errors)
    }

    fn model(&self, errors: &Errors) -> Option<Model> {
        let files = self.get(Key::Files);
        let Some(model) = self.get(Key::Model) else {
            if let Some(files) = files {
                errors.on(&files.name, "`files` are those of a model: add `model = \"org/name@revision\"`");
            }
            return None;
        };
        let files = files.map_or(Some(Vec::new()), |files| files.texts(errors));
        Some(Model { reference: model.text(errors)?, files: files? })
    }

    fn scaler(&self, errors: &Errors) -> Option<Scaler> {
        let scalers = |entry: &&Entry| matches!(entry.key, Key::QueueDelay | Key::RequestCount);
        let mut scalers = self.entries.iter().filter(scalers);
        let first = scalers.next()?;
        if let Some(second) = scalers.next() {
            errors.on(&second.name, format!("a worker type has one scaler: `{}` is already set", first.name));
        }
        let value = first.number(1..=u32::MAX, errors)?;
        Some(match first.key {
            Key::QueueDelay => Scaler::QueueDelay(value),
            _ => Scaler::RequestCount(value),
        })
    }

    /// Whether it is a task; reports what a task cannot have.
    fn is_task(&self, workers: Option<(u32, u32)>, errors: &Errors) -> bool {
        const MEANINGLESS: [Key; 5] =
            [Key::IdleTimeout, Key::MaxConcurrency, Key::QueueDelay, Key::RequestCount, Key::Buffer];
        if self.get(Key::Task).is_none() {
            return false;
        }
        for entry in self.entries.iter().filter(|entry| MEANINGLESS.contains(&entry.key)) {
            errors
                .on(&entry.name, format!("a task has a fresh worker for each job: remove `{}`", entry.name));
        }
        for entry in self.entries.iter().filter(|entry| Key::OF_ROUTE.contains(&entry.key)) {
            errors.on(&entry.name, "a task takes jobs, and no requests: remove `task`, or the route");
        }
        if let (Some((min @ 1.., max)), Some(entry)) = (workers, self.get(Key::Workers)) {
            let message = format!(
                "a task starts its workers when jobs come, so the minimum is 0 and not {min}: `workers = 0..={max}`"
            );
            errors.on(&entry.value, message);
        }
        true
    }

    fn route(&self, errors: &Errors) -> Option<Route> {
        let (method, path) = match (self.get(Key::Method), self.get(Key::Path)) {
            (None, None) => {
                if let Some(replay) = self.get(Key::Replay) {
                    errors.on(&replay.name, "`replay` is for the events of a route: set `method` and `path`");
                }
                return None;
            }
            (Some(method), Some(path)) => (method, path),
            (Some(alone), None) => {
                errors.on(&alone.name, "a route also needs a path: `path = \"/classify\"`");
                return None;
            }
            (None, Some(alone)) => {
                errors.on(&alone.name, "a route also needs a method: `method = POST`");
                return None;
            }
        };
        let route = Route::parse(&method.value, &path.value, errors);
        // The same limit as that of `flash_sdk`.
        let replay = self.get(Key::Replay);
        let events = replay.and_then(|entry| Some((entry.name.clone(), entry.number(1..=10_000, errors)?)));
        route.map(|route| Route { replay: events, ..route })
    }

    /// Those that each method sets for itself.
    fn refuse_settings_of_functions(&self, errors: &Errors) {
        for entry in &self.entries {
            if entry.key == Key::Http {
                errors.on(
                    &entry.name,
                    "on an `impl`, mark the method that makes the router: `#[http] fn web(self: Arc<Self>) -> \
                     axum::Router`",
                );
            }
            if entry.key == Key::OpenAi {
                errors.on(
                    &entry.name,
                    "on an `impl`, mark the method that returns the models: `#[openai = \"smollm2-135m\"] fn \
                     models(&self) -> Models`",
                );
            }
            if Key::OF_ROUTE.contains(&entry.key) {
                errors.on(
                    &entry.name,
                    "on an `impl`, each method sets its own route: `#[route(method = POST, path = \
                     \"/classify\")]`",
                );
            }
            if Key::OF_JOB.contains(&entry.key) {
                errors.on(
                    &entry.name,
                    format!(
                        "on an `impl`, each method has its own: write `#[job({})]` above it",
                        entry.key.form()
                    ),
                );
            }
        }
    }
}

fn default_worker(place: &Place, errors: &Errors) -> Option<String> {
    let (name, span) = match place {
        Place::Function(name) => (name.unraw().to_string(), name.span()),
        Place::Impl { worker, span } => (worker.clone(), *span),
        Place::Elsewhere => return None,
    };
    if !is_worker_name(&name) {
        let message = "not a valid worker type name (a letter, then letters, digits, `_` and `-`, at most 63 \
                       characters): set another with `worker = \"…\"`";
        errors.at(span, message);
        return None;
    }
    Some(name)
}
