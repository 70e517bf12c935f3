use std::sync::OnceLock;

use flash_protocol::CpuInstance;

use super::*;
use crate::descriptor::{Argument, FunctionSettings, Output, Route};

const CPU: ResourceConfig = ResourceConfig::new("cpu").cpu(CpuInstance::Cpu3c_1_2);

fn function(name: &'static str, line: u32, resource: Resource, route: Option<Route>) -> &'static Function {
    Box::leak(Box::new(Function {
        name,
        owner: None,
        module_path: "app::jobs",
        file: "src/jobs.rs",
        line,
        docs: "",
        resource,
        route,
        settings: FunctionSettings::new(),
        arguments: &[],
        output: Output::of::<()>(),
        handler: Handler::Once(|_| unreachable!("never run here")),
        lifecycle: None,
        binding: OnceLock::new(),
    }))
}

fn errors_of(functions: Vec<&'static Function>) -> Vec<String> {
    let errors = Registry::check(functions, Vec::new()).err().unwrap_or_default();
    errors.into_iter().map(|error| error.0).collect()
}

const PING: Option<Route> = Some(Route { method: "GET", path: "/a/{id}" });
const PING_BY_NAME: Option<Route> = Some(Route { method: "GET", path: "/a/{name}" });

/// A function that returns models, on a worker type of its own.
fn serving(
    line: u32,
    config: ResourceConfig,
    models: Option<&'static [&'static str]>,
) -> &'static RouterFunction {
    Box::leak(Box::new(RouterFunction {
        name: "chat",
        owner: None,
        file: "src/chat.rs",
        line,
        docs: "",
        resource: Resource::Declared(config),
        prefix: models.is_none().then_some("/v1/own"),
        models,
        make: |_| unreachable!("never run here"),
        lifecycle: None,
    }))
}

#[test]
fn a_served_model_has_one_worker_type_and_the_name_of_its_weights_if_it_says_no_other() {
    const WEIGHTS: ResourceConfig =
        ResourceConfig::new("weights").cpu(CpuInstance::Cpu3c_1_2).model("org/name@main", &[]);
    let registry =
        Registry::check(Vec::new(), vec![serving(1, WEIGHTS, Some(&[])), serving(2, CPU, Some(&["b"]))]);
    let registry = registry.unwrap_or_else(|errors| panic!("{errors:?}"));
    let manifest = registry.describe(App { name: "app".into(), version: "0".into() });
    let models: Vec<_> = manifest.models().map(|(name, worker)| (name, worker.name.as_str())).collect();
    assert_eq!(models, [("b", "cpu"), ("org/name", "weights")]);

    let wrong = |routers| {
        let errors = Registry::check(Vec::new(), routers).err().unwrap_or_default();
        errors.into_iter().map(|error| error.0).collect::<Vec<_>>()
    };
    let twice = wrong(vec![serving(1, WEIGHTS, Some(&[])), serving(2, CPU, Some(&["org/name"]))]);
    assert_eq!(
        twice,
        [
            "the model `org/name` is served twice: by `chat` at src/chat.rs:1 and by `chat` at src/chat.rs:2: give one \
          of them another name"
        ]
    );
    let nameless = wrong(vec![serving(1, CPU, Some(&[]))]);
    assert!(nameless.len() == 1 && nameless[0].contains("serves a model without a name"), "{nameless:?}");
    let below = wrong(vec![serving(1, WEIGHTS, Some(&["a"])), serving(2, CPU, None)]);
    assert!(below.len() == 1 && below[0].contains("the paths below `/v1` are served twice"), "{below:?}");
}

#[test]
fn equal_names_and_routes_are_reported_with_both_places() {
    let twice = errors_of(vec![
        function("f", 3, Resource::Declared(CPU), None),
        function("f", 9, Resource::Named("cpu"), None),
    ]);
    assert_eq!(
        twice,
        ["worker type `cpu` has two functions named `f`: at src/jobs.rs:3 and at src/jobs.rs:9"]
    );
    let routes = errors_of(vec![
        function("b", 9, Resource::Named("cpu"), PING_BY_NAME),
        function("a", 3, Resource::Declared(CPU), PING),
    ]);
    assert_eq!(routes, ["GET /a/{id} is served twice: by `a` at src/jobs.rs:3 and by `b` at src/jobs.rs:9"]);
}

#[test]
fn configs_that_disagree_or_are_missing_are_reported() {
    let other = Resource::Declared(CPU.workers(0..=9));
    let conflict =
        errors_of(vec![function("f", 1, Resource::Declared(CPU), None), function("g", 2, other, None)]);
    assert!(conflict[0].contains("src/jobs.rs:1 and at src/jobs.rs:2"), "{conflict:?}");
    let missing = errors_of(vec![function("f", 1, Resource::Named("nowhere"), None)]);
    assert!(missing[0].contains("which no function configures: add `cpu"), "{missing:?}");
    let near = errors_of(vec![
        function("f", 1, Resource::Declared(ResourceConfig::new("front").cpu(CpuInstance::Cpu3c_1_2)), None),
        function("g", 2, Resource::Named("frnt"), None),
    ]);
    assert!(near[0].ends_with("did you mean `worker = \"front\"`?"), "{near:?}");
    let hardware = errors_of(vec![function("f", 1, Resource::Declared(ResourceConfig::new("x")), None)]);
    assert!(hardware[0].contains("neither CPU nor GPU"), "{hardware:?}");
}

#[test]
fn a_worker_type_is_queue_or_load_balanced() {
    let mixed = errors_of(vec![
        function("f", 1, Resource::Declared(CPU), None),
        function("g", 2, Resource::Named("cpu"), PING),
    ]);
    assert!(mixed[0].contains("both a route (`g` at src/jobs.rs:2)"), "{mixed:?}");
}

fn router(
    name: &'static str,
    line: u32,
    resource: Resource,
    prefix: Option<&'static str>,
) -> &'static RouterFunction {
    Box::leak(Box::new(RouterFunction {
        name,
        owner: None,
        file: "src/web.rs",
        line,
        docs: " The site.",
        resource,
        prefix,
        models: None,
        make: |_| unreachable!("never made here"),
        lifecycle: None,
    }))
}

#[test]
fn routers_that_own_the_same_paths_are_reported_with_both_places() {
    let other = Resource::Declared(ResourceConfig::new("other").cpu(CpuInstance::Cpu3c_1_2));
    let conflict = |prefix| {
        let (first, second) =
            (router("a", 3, Resource::Declared(CPU), prefix), router("b", 9, other, prefix));
        let errors = Registry::check(Vec::new(), vec![second, first]).err().unwrap();
        errors[0].to_string()
    };
    assert_eq!(
        conflict(Some("/chat")),
        "the paths below `/chat` are served twice: by `a` at src/web.rs:3 and by `b` at src/web.rs:9: give \
         one of them another prefix, as in `http = \"/chat\"`"
    );
    assert!(conflict(None).starts_with("all paths that nothing else takes are served twice: by `a` at src/"));
    let apart = vec![router("a", 3, Resource::Declared(CPU), None), router("b", 9, other, Some("/chat"))];
    assert!(Registry::check(Vec::new(), apart).is_ok());
    let one_type = vec![
        router("a", 3, Resource::Declared(CPU), None),
        router("b", 9, Resource::Named("cpu"), Some("/chat")),
    ];
    let errors = Registry::check(Vec::new(), one_type).err().unwrap();
    assert!(errors[0].0.starts_with("worker type `cpu` has two routers"), "{errors:?}");
}

#[test]
fn a_router_makes_its_worker_type_load_balanced_and_no_place_for_jobs() {
    let web = || router("web", 3, Resource::Declared(CPU), None);
    let job = function("f", 1, Resource::Named("cpu"), None);
    let errors = Registry::check(vec![job], vec![web()]).err().unwrap();
    assert!(errors[0].0.contains("both a router (`web` at src/web.rs:3)"), "{errors:?}");
    let route = function("f", 1, Resource::Named("cpu"), PING);
    let registry = Registry::check(vec![route], vec![web()]).ok().unwrap();
    let worker = registry.worker_type("cpu").unwrap();
    assert_eq!(worker.kind, EndpointKind::LoadBalanced);
    let http = worker.http.unwrap();
    assert_eq!((http.function.as_str(), http.docs.as_str(), http.path()), ("web", "The site.", "/"));
}

#[test]
fn a_limit_of_requests_on_a_worker_type_for_jobs_is_reported() {
    let limited = Resource::Declared(CPU.max_body_mib(100).request_timeout(600));
    let errors = errors_of(vec![function("f", 3, limited, None)]);
    assert_eq!(errors.len(), 2);
    assert!(
        errors[0].starts_with("src/jobs.rs:3: worker type `cpu` takes jobs, and `max_body_mib`"),
        "{errors:?}"
    );
    assert_eq!(errors_of(vec![function("f", 3, limited, PING)]), Vec::<String>::new());
}

#[test]
fn a_task_takes_jobs_on_workers_that_start_for_them() {
    let errors =
        |task: ResourceConfig, route| errors_of(vec![function("f", 1, Resource::Declared(task), route)]);
    assert_eq!(errors(CPU.task().workers(0..=9), None), [""; 0]);
    let route = errors(CPU.task(), PING);
    assert!(route[0].contains("`cpu` is a task, which takes jobs and no requests"), "{route:?}");
    for wrong in [CPU.task().workers(1..=2), CPU.task().max_concurrency(2), CPU.task().buffer(1)] {
        let wrong = errors(wrong, None);
        assert!(wrong[0].contains("a fresh worker for each job"), "{wrong:?}");
    }
}

#[test]
fn an_example_that_does_not_fit_is_reported_at_its_function() {
    let with = |example: &'static str| {
        const COUNT: &[Argument] = &[Argument::of::<u32>("count")];
        let function: &Function = Box::leak(Box::new(Function {
            name: "f",
            owner: None,
            module_path: "app::jobs",
            file: "src/jobs.rs",
            line: 3,
            docs: "",
            resource: Resource::Declared(CPU),
            route: None,
            settings: FunctionSettings::new().example(example),
            arguments: COUNT,
            output: Output::of::<()>(),
            handler: Handler::Once(|_| unreachable!("never run here")),
            lifecycle: None,
            binding: OnceLock::new(),
        }));
        let registry = Registry::check(vec![function], Vec::new()).ok().unwrap();
        registry.check_examples().err().map(|errors| errors[0].0.clone())
    };
    assert_eq!(with(r#"{"count": 3}"#), None);
    let unread = with("{count: 3}").unwrap();
    assert!(unread.starts_with("src/jobs.rs:3: the example of `f` is not valid JSON"), "{unread}");
    let unfit = with(r#"{"count": "three"}"#).unwrap();
    assert!(unfit.contains("does not fit its arguments: `/count`"), "{unfit}");
}

#[test]
fn functions_come_in_source_order_and_defaults_are_filled_in() {
    let registry = Registry::check(
        vec![
            function("later", 7, Resource::Named("cpu"), None),
            function("first", 2, Resource::Declared(CPU), None),
        ],
        Vec::new(),
    )
    .ok()
    .unwrap();
    let app = App { name: "app".into(), version: "0".into() };
    let manifest = registry.describe(app);
    let names: Vec<_> = manifest.functions.iter().map(|function| function.name.as_str()).collect();
    assert_eq!(names, ["first", "later"]);
    assert_eq!(manifest.functions[0].module, "jobs");
    assert_eq!(manifest.workers[0].scaler, ScalerEntry::QueueDelay { seconds: 4 });
    assert_eq!(manifest.workers[0].max_concurrency, 1);
}
