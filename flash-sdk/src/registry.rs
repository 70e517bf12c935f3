//! The functions of an app: those that `#[remote]` registered, checked and in source order.
//!
//! It contains the rules across functions: equal names, equal routes, conflicting configurations.
//! The order of registration is not specified, so everything is sorted first.
use std::{collections::BTreeMap, fmt};

use flash_protocol::{
    Lifetime, ModelEntry, ResourceConfig, Result,
    manifest::{
        App, ArgumentEntry, ArgumentSource, EndpointKind, FunctionEntry, HeaderEntry, MANIFEST_VERSION,
        Manifest, OPENAI_PREFIX, RouteEntry, ScalerEntry, WorkerType,
    },
    schema::violations,
};
use flash_text::similar_names;
use schemars::SchemaGenerator;
use serde_json::Value;

use crate::descriptor::{Function, Handler, Registered, RegisteredRouter, Resource, RouterFunction};
use crate::model_dir::no_model;

/// A conflict between functions. The message names all source locations.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RegistryError(pub String);

impl fmt::Display for RegistryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The app's functions and worker types.
pub(crate) struct Registry {
    functions: Vec<&'static Function>,
    routers: Vec<&'static RouterFunction>,
    configs: BTreeMap<&'static str, ResourceConfig>,
}

impl Registry {
    /// Collects everything that `#[remote]` registered in this binary.
    ///
    /// # Errors
    /// All conflicts.
    pub(crate) fn collect() -> Result<Self, Vec<RegistryError>> {
        Self::check(
            inventory::iter::<Registered>.into_iter().map(|entry| (entry.function)()).collect(),
            inventory::iter::<RegisteredRouter>.into_iter().map(|entry| (entry.0)()).collect(),
        )
    }

    fn check(
        mut functions: Vec<&'static Function>,
        mut routers: Vec<&'static RouterFunction>,
    ) -> Result<Self, Vec<RegistryError>> {
        functions.sort_by_key(|function| (function.file, function.line, function.name));
        routers.sort_by_key(|router| (router.file, router.line, router.name));
        let mut errors = Vec::new();
        let configs = merge_configs(&declarations(&functions, &routers), &mut errors);
        check_names(&functions, &mut errors);
        check_routes(&functions, &mut errors);
        check_kinds(&functions, &mut errors);
        check_tasks(&functions, &configs, &mut errors);
        check_routers(&functions, &routers, &mut errors);
        check_served(&routers, &configs, &mut errors);
        check_limits(&functions, &routers, &configs, &mut errors);
        check_models(&functions, &routers, &configs, &mut errors);
        if errors.is_empty() { Ok(Self { functions, routers, configs }) } else { Err(errors) }
    }

    /// The functions on this worker type, in source order.
    pub(crate) fn functions_of<'a>(
        &'a self,
        worker: &'a str,
    ) -> impl Iterator<Item = &'static Function> + 'a {
        self.functions.iter().copied().filter(move |function| function.worker() == worker)
    }

    /// The function that makes the router of this worker type.
    pub(crate) fn router_of(&self, worker: &str) -> Option<&'static RouterFunction> {
        self.routers.iter().copied().find(|router| router.worker() == worker)
    }

    /// Names of all worker types.
    pub(crate) fn workers(&self) -> impl Iterator<Item = &'static str> + '_ {
        self.configs.keys().copied()
    }

    fn kind(&self, worker: &str) -> EndpointKind {
        let routed = self.functions_of(worker).any(|function| function.route.is_some());
        if routed || self.router_of(worker).is_some() {
            EndpointKind::LoadBalanced
        } else {
            EndpointKind::Queue
        }
    }

    /// The worker type with all settings, including defaults.
    pub(crate) fn worker_type(&self, worker: &str) -> Option<WorkerType> {
        let config = self.configs.get(worker)?;
        let kind = self.kind(worker);
        // While a batch runs, the next one gathers on the same worker; further workers start for further batches.
        let batch =
            self.functions_of(worker).filter_map(|function| function.settings.batch).map(|own| own.max).max();
        let concurrency = batch.map_or(kind.default_concurrency(), |max| max.saturating_mul(2));
        let scaler = batch.map_or(kind.default_scaler(), |max| ScalerEntry::RequestCount { requests: max });
        Some(WorkerType {
            name: config.name.to_owned(),
            kind,
            compute: config.compute?.into(),
            workers_min: config.workers_min,
            workers_max: config.workers_max,
            idle_timeout_seconds: config.idle_timeout,
            execution_timeout_seconds: config.execution_timeout,
            start_timeout_seconds: config.start_timeout,
            max_concurrency: config.max_concurrency.unwrap_or(concurrency),
            scaler: config.scaler.map_or(scaler, ScalerEntry::from),
            buffer: config.buffer,
            lifetime: config.lifetime,
            data_centers: config.data_centers.to_vec(),
            disk_gib: config.disk_gib,
            shm_mib: config.shm_mib,
            vram_gib: config.vram_gib,
            http: self.router_of(worker).map(|router| router.entry(config.model)),
            max_body_mib: config.max_body_mib,
            request_timeout_seconds: config.request_timeout,
            model: config.model.map(ModelEntry::from),
        })
    }

    /// Checks the example inputs against the functions' schemas: which input fits is not known before.
    ///
    /// # Errors
    /// All examples that are not valid JSON or do not fit.
    pub(crate) fn check_examples(&self) -> Result<(), Vec<RegistryError>> {
        let mut errors = Vec::new();
        for function in self.functions.iter().copied() {
            let Some(example) = function.settings.example else { continue };
            if let Err(problem) = check_example(function, example) {
                let (place, name) = (function.place(), function.call_name());
                errors.push(RegistryError(format!("{place}: the example of `{name}` {problem}")));
            }
        }
        if errors.is_empty() { Ok(()) } else { Err(errors) }
    }

    /// The manifest of this binary.
    pub(crate) fn describe(&self, app: App) -> Manifest {
        let mut generator = SchemaGenerator::default();
        let functions = self.functions.iter().map(|function| entry(function, &mut generator)).collect();
        Manifest {
            version: MANIFEST_VERSION,
            app,
            sdk_version: env!("CARGO_PKG_VERSION").to_owned(),
            workers: self.configs.keys().filter_map(|name| self.worker_type(name)).collect(),
            functions,
            definitions: generator.take_definitions(true),
        }
    }
}

fn check_example(function: &'static Function, example: &str) -> Result<(), String> {
    let value: Value =
        serde_json::from_str(example).map_err(|error| format!("is not valid JSON: {error}"))?;
    let mut generator = SchemaGenerator::default();
    let entry = entry(function, &mut generator);
    let Some(mut schema) = entry.input.filter(|_| !entry.raw_body) else {
        return Err("has no use: the function has no JSON input".to_owned());
    };
    if let Some(schema) = schema.as_object_mut() {
        schema.insert("$defs".to_owned(), Value::Object(generator.take_definitions(true)));
    }
    // Text formats are checked by the platform, which knows them.
    match violations(&schema, &value, |_, _| true).first() {
        Some(first) => Err(format!("does not fit its arguments: `{}` {}", first.path, first.message)),
        None => Ok(()),
    }
}

fn entry(function: &'static Function, generator: &mut SchemaGenerator) -> FunctionEntry {
    let binding = function.binding();
    // Headers are no input with a schema.
    let arguments = function.arguments.iter().zip(&binding.sources);
    let arguments = arguments.filter(|(_, source)| **source != ArgumentSource::Headers);
    let arguments = arguments.map(|(argument, source)| ArgumentEntry {
        name: argument.name.to_owned(),
        source: *source,
        required: !(argument.optional)() || *source == ArgumentSource::Path,
        schema: (argument.schema)(generator).to_value(),
    });
    let arguments: Vec<_> = arguments.collect();
    let parts = || function.arguments.iter().filter_map(|argument| Some((argument, argument.request?)));
    let headers = parts().filter_map(|(argument, request)| {
        let name = (request.header)()?.as_str().to_owned();
        Some(HeaderEntry { name, required: !(argument.optional)() })
    });
    let body_type = parts().find_map(|(_, request)| request.part.body_type());
    FunctionEntry {
        name: function.name.to_owned(),
        owner: function.owner.map(str::to_owned),
        module: function.module(),
        worker: function.worker().to_owned(),
        file: function.file.to_owned(),
        line: function.line,
        docs: function.docs.trim().to_owned(),
        route: function
            .route
            .map(|route| RouteEntry { method: route.method.to_owned(), path: route.path.to_owned() }),
        input: binding.input_schema(function.arguments, generator),
        raw_body: binding.raw_body,
        output: (function.output.schema)(generator).to_value(),
        body_type: body_type.map(str::to_owned),
        headers: headers.collect(),
        raw_output: function.answers_raw(),
        output_type: function.output.is_response.then(|| "*/*".to_owned()),
        streams: matches!(function.handler, Handler::Stream(_)),
        settings: function.settings.entry(),
        arguments,
    }
}

/// What says on which worker type something runs.
struct Declaration {
    resource: Resource,
    worker: &'static str,
    call_name: String,
    place: String,
}

/// All declarations, in source order.
fn declarations(functions: &[&'static Function], routers: &[&'static RouterFunction]) -> Vec<Declaration> {
    let functions = functions.iter().map(|function| {
        let declaration = Declaration {
            resource: function.resource,
            worker: function.worker(),
            call_name: function.call_name(),
            place: function.place(),
        };
        ((function.file, function.line), declaration)
    });
    let routers = routers.iter().map(|router| {
        let declaration = Declaration {
            resource: router.resource,
            worker: router.worker(),
            call_name: router.call_name(),
            place: router.place(),
        };
        ((router.file, router.line), declaration)
    });
    let mut all: Vec<_> = functions.chain(routers).collect();
    all.sort_by_key(|(at, _)| *at);
    all.into_iter().map(|(_, declaration)| declaration).collect()
}

fn merge_configs(
    declarations: &[Declaration],
    errors: &mut Vec<RegistryError>,
) -> BTreeMap<&'static str, ResourceConfig> {
    let mut declared: BTreeMap<&'static str, (&Declaration, ResourceConfig)> = BTreeMap::new();
    for declaration in declarations {
        let Resource::Declared(config) = declaration.resource else { continue };
        match declared.get(config.name) {
            Some((first, known)) if *known != config => errors.push(RegistryError(format!(
                "worker type `{}` is configured differently at {} and at {}: configure it once in a const and \
                 use `resource = …` in both places, or keep only `worker = \"{0}\"` in one",
                config.name, first.place, declaration.place,
            ))),
            Some(_) => {}
            None => {
                declared.insert(config.name, (declaration, config));
            }
        }
    }
    for declaration in declarations {
        match declared.get(declaration.worker) {
            None => errors.push(RegistryError(format!(
                "{}: `{}` runs on worker type `{}`, which no function configures: {}",
                declaration.place,
                declaration.call_name,
                declaration.worker,
                match similar_names(declaration.worker, declared.keys().copied()).first() {
                    Some(near) => format!("did you mean `worker = \"{near}\"`?"),
                    None => "add `cpu = …` or `gpu = …`".to_owned(),
                },
            ))),
            Some((first, config)) if config.compute.is_none() => {
                if std::ptr::eq(*first, declaration) {
                    errors.push(RegistryError(format!(
                        "{}: worker type `{}` has neither CPU nor GPU: add `.cpu(…)` or `.gpu(…)`",
                        declaration.place, config.name,
                    )));
                }
            }
            Some(_) => {}
        }
    }
    declared.into_iter().map(|(name, (_, config))| (name, config)).collect()
}

/// Reports each pair of functions with the same `key`.
fn check_unique<K: Ord>(
    functions: &[&'static Function],
    key: impl Fn(&'static Function) -> Option<K>,
    message: impl Fn(&'static Function, &'static Function) -> String,
    errors: &mut Vec<RegistryError>,
) {
    let mut seen: BTreeMap<K, &'static Function> = BTreeMap::new();
    for function in functions.iter().copied() {
        let Some(key) = key(function) else { continue };
        match seen.get(&key) {
            Some(first) => errors.push(RegistryError(message(first, function))),
            None => {
                seen.insert(key, function);
            }
        }
    }
}

fn check_names(functions: &[&'static Function], errors: &mut Vec<RegistryError>) {
    check_unique(
        functions,
        |function| Some((function.worker(), function.call_name())),
        |first, second| {
            format!(
                "worker type `{}` has two functions named `{}`: at {} and at {}",
                first.worker(),
                first.call_name(),
                first.place(),
                second.place(),
            )
        },
        errors,
    );
}

fn check_routes(functions: &[&'static Function], errors: &mut Vec<RegistryError>) {
    check_unique(
        functions,
        |function| function.route.map(|route| (route.method, path_shape(route.path))),
        |first, second| {
            let route = first.route.expect("only routes are compared");
            format!(
                "{} {} is served twice: by `{}` at {} and by `{}` at {}",
                route.method,
                route.path,
                first.call_name(),
                first.place(),
                second.call_name(),
                second.place(),
            )
        },
        errors,
    );
}

/// A path without parameter names: `/a/{id}` and `/a/{name}` match the same requests.
fn path_shape(path: &str) -> String {
    let shape =
        |segment: &'_ str| if segment.starts_with('{') { "{}".to_owned() } else { segment.to_owned() };
    path.split('/').map(shape).collect::<Vec<_>>().join("/")
}

fn check_kinds(functions: &[&'static Function], errors: &mut Vec<RegistryError>) {
    let mut seen: BTreeMap<&str, &'static Function> = BTreeMap::new();
    for function in functions.iter().copied() {
        let first = *seen.entry(function.worker()).or_insert(function);
        if first.route.is_some() != function.route.is_some() {
            let (route, queue) = if first.route.is_some() { (first, function) } else { (function, first) };
            errors.push(RegistryError(format!(
                "worker type `{}` has both a route (`{}` at {}) and a queue function (`{}` at {}): a worker \
                 type has one or the other, so move one of them to another worker type",
                function.worker(),
                route.call_name(),
                route.place(),
                queue.call_name(),
                queue.place(),
            )));
        }
    }
}

/// Where the macro cannot see it: a constant, or a route elsewhere.
fn check_tasks(
    functions: &[&'static Function],
    configs: &BTreeMap<&'static str, ResourceConfig>,
    errors: &mut Vec<RegistryError>,
) {
    for config in configs.values().filter(|config| config.lifetime == Lifetime::OneJob) {
        let own = || functions.iter().copied().filter(|function| function.worker() == config.name);
        if let Some(route) = own().find(|function| function.route.is_some()) {
            errors.push(RegistryError(format!(
                "{}: `{}` is a route, but its worker type `{}` is a task, which takes jobs and no requests: move it \
                 to another worker type",
                route.place(),
                route.call_name(),
                config.name,
            )));
        }
        let takes_many = config.max_concurrency != Some(1) || config.buffer > 0;
        if (config.workers_min > 0 || takes_many)
            && let Some(first) = own().next()
        {
            errors.push(RegistryError(format!(
                "{}: worker type `{}` is a task, which has a fresh worker for each job: set neither a minimum of \
                 workers nor a concurrency or buffer after `.task()`",
                first.place(),
                config.name,
            )));
        }
    }
}

/// Limits of requests are for worker types that get requests.
fn check_limits(
    functions: &[&'static Function],
    routers: &[&'static RouterFunction],
    configs: &BTreeMap<&'static str, ResourceConfig>,
    errors: &mut Vec<RegistryError>,
) {
    for config in configs.values() {
        let set = [
            ("max_body_mib", config.max_body_mib.is_some()),
            ("request_timeout", config.request_timeout.is_some()),
        ];
        let job = functions.iter().find(|own| own.worker() == config.name && own.route.is_none());
        let (Some(job), true) = (job, routers.iter().all(|router| router.worker() != config.name)) else {
            continue;
        };
        for (setting, _) in set.iter().filter(|(_, is_set)| *is_set) {
            errors.push(RegistryError(format!(
                "{}: worker type `{}` takes jobs, and `{setting}` is a limit of requests: remove it, or give its \
                 functions a `method` and a `path`",
                job.place(),
                config.name,
            )));
        }
    }
}

/// An `#[init]` that takes the directory of a model needs one.
fn check_models(
    functions: &[&'static Function],
    routers: &[&'static RouterFunction],
    configs: &BTreeMap<&'static str, ResourceConfig>,
    errors: &mut Vec<RegistryError>,
) {
    let functions = functions.iter().map(|own| (own.worker(), own.place(), own.lifecycle));
    let routers = routers.iter().map(|own| (own.worker(), own.place(), own.lifecycle));
    let mut reported = Vec::new();
    for (worker, place, lifecycle) in functions.chain(routers) {
        let needs_model = lifecycle.is_some_and(|lifecycle| lifecycle().needs_model);
        let has_none = configs.get(worker).is_some_and(|config| config.model.is_none());
        if needs_model && has_none && !reported.contains(&worker) {
            reported.push(worker);
            errors.push(RegistryError(format!("{place}: {}", no_model(worker))));
        }
    }
}

/// A worker type has one router and no jobs beside it, and no two routers own the same paths.
fn check_routers(
    functions: &[&'static Function],
    routers: &[&'static RouterFunction],
    errors: &mut Vec<RegistryError>,
) {
    for (index, router) in routers.iter().enumerate() {
        let (name, place) = (router.call_name(), router.place());
        let queued = functions
            .iter()
            .find(|function| function.worker() == router.worker() && function.route.is_none());
        if let Some(queued) = queued {
            errors.push(RegistryError(format!(
                "worker type `{}` has both a router (`{name}` at {place}) and a queue function (`{}` at {}): a \
                 worker type has one or the other, so move one of them to another worker type",
                router.worker(),
                queued.call_name(),
                queued.place(),
            )));
        }
        let earlier = &routers[..index];
        if let Some(first) = earlier.iter().find(|first| first.worker() == router.worker()) {
            errors.push(RegistryError(format!(
                "worker type `{}` has two routers: `{}` at {} and `{name}` at {place}: merge them with \
                 `Router::merge`, or move one of them to another worker type",
                router.worker(),
                first.call_name(),
                first.place(),
            )));
        } else if router.models.is_some() {
            // Names, not paths, tell models apart.
        } else if let Some(first) =
            earlier.iter().find(|first| first.models.is_none() && first.prefix == router.prefix)
        {
            let paths = match router.prefix {
                Some(prefix) => format!("the paths below `{prefix}` are"),
                None => "all paths that nothing else takes are".to_owned(),
            };
            errors.push(RegistryError(format!(
                "{paths} served twice: by `{}` at {} and by `{name}` at {place}: give one of them another \
                 prefix, as in `http = \"/chat\"`",
                first.call_name(),
                first.place(),
            )));
        }
    }
}

/// A model has one worker type, and the paths of OpenAI's API have no other router.
fn check_served(
    routers: &[&'static RouterFunction],
    configs: &BTreeMap<&'static str, ResourceConfig>,
    errors: &mut Vec<RegistryError>,
) {
    let mut seen: BTreeMap<String, &'static RouterFunction> = BTreeMap::new();
    for router in routers.iter().copied().filter(|router| router.models.is_some()) {
        let names = router.served(configs.get(router.worker()).and_then(|config| config.model));
        if names.is_empty() {
            errors.push(RegistryError(format!(
                "{}: `{}` serves a model without a name: add one, as in `openai = \"smollm2-135m\"`, or set `model = \
                 \"org/name@revision\"` on worker type `{}`, whose name it has then",
                router.place(),
                router.call_name(),
                router.worker(),
            )));
        }
        for name in names {
            if let Some(first) = seen.get(&name) {
                errors.push(RegistryError(format!(
                    "the model `{name}` is served twice: by `{}` at {} and by `{}` at {}: give one of them another \
                     name",
                    first.call_name(),
                    first.place(),
                    router.call_name(),
                    router.place(),
                )));
                continue;
            }
            seen.insert(name, router);
        }
    }
    let Some(models) = seen.values().next() else { return };
    let is_below = |path: &str| {
        path.strip_prefix(OPENAI_PREFIX).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    for router in routers.iter().filter(|router| router.prefix.is_some_and(is_below)) {
        errors.push(RegistryError(format!(
            "the paths below `{OPENAI_PREFIX}` are served twice: by `{}` at {} for its models and by `{}` at {}: give \
             the router another prefix, as in `http = \"/chat\"`",
            models.call_name(),
            models.place(),
            router.call_name(),
            router.place(),
        )));
    }
}

#[cfg(test)]
mod tests;
