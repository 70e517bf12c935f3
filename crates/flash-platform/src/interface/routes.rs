//! Maps paths to functions: the app's routes, and the fixed addresses of every function.
//!
//! No tree of paths such as `matchit`: the method is part of the match. `GET /items/new` goes to `GET /items/{id}` where
//! only `POST /items/new` has that path, and the answer 405 names the methods of both.
use std::cmp::Reverse;

use flash_protocol::manifest::{EndpointKind, HttpEntry, Manifest, OPENAI_HEALTH};
use flash_text::nearest;
use http::Method;

/// The target of a path. Functions are identified by their index in the manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Target {
    /// A route of a load-balanced worker type; the request goes there with this path.
    Route { function: usize, path: String },
    /// `run_sync`: the body is the input.
    RunSync { function: usize },
    /// `runsync`: the body is `{"input": …}`.
    RunSyncWrapped { function: usize },
    /// Any path below the name of a load-balanced command; the request goes there with the rest of it.
    Command { worker: String, path: String },
    /// A path of a worker type's router; the request goes there with this path.
    Router { worker: String, path: String },
    /// A path of OpenAI's API. Which worker type gets the request, the model in its body says.
    OpenAi { path: String },
}

/// Why a request has no target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum NoRoute {
    /// No method has this path. `near` names similar paths, as the end of a message.
    UnknownPath { near: String },
    /// The path has these methods.
    WrongMethod { allowed: String },
}

struct Pattern {
    method: Method,
    /// `None` for a parameter.
    segments: Vec<Option<String>>,
    path: String,
    /// Leading segments that the worker does not see (`/{worker}`).
    strip: usize,
    kind: Kind,
}

#[derive(Clone, Copy)]
enum Kind {
    Route(usize),
    RunSync(usize),
    RunSyncWrapped(usize),
}

/// The last segment of the path where a queue function is called and waited for.
const RUN_SYNC: &str = "run_sync";

/// All paths of a release. Fixed segments win over parameters, earlier functions over later, and both over routers,
/// of which the one with the longest prefix wins.
pub(crate) struct RouteTable {
    patterns: Vec<Pattern>,
    /// Load-balanced commands: everything below their name is theirs, whatever the method.
    commands: Vec<String>,
    /// Worker types with a router, the longest prefix first; without those that serve models.
    routers: Vec<(String, HttpEntry)>,
    /// The paths of OpenAI's API, if a worker type serves models.
    openai: Option<HttpEntry>,
}

impl RouteTable {
    pub(crate) fn new(manifest: &Manifest) -> Self {
        let mut patterns = Vec::new();
        let mut first_of_module = Vec::new();
        for (index, function) in manifest.functions.iter().enumerate() {
            match &function.route {
                Some(route) => {
                    // A method that the SDK wrote is one that HTTP knows.
                    let method = Method::from_bytes(route.method.as_bytes()).unwrap_or(Method::POST);
                    let below = format!("/{}{}", function.worker, route.path);
                    patterns.push(Pattern::new(method.clone(), &route.path, 0, Kind::Route(index)));
                    patterns.push(Pattern::new(method, &below, 1, Kind::Route(index)));
                }
                None => {
                    let mut prefixes = vec![format!("/{}/{}", function.module, function.name)];
                    if !first_of_module.contains(&&function.module) {
                        first_of_module.push(&function.module);
                        prefixes.insert(0, format!("/{}", function.module));
                    }
                    for prefix in prefixes {
                        let run_sync = format!("{prefix}/{RUN_SYNC}");
                        patterns.push(Pattern::new(Method::POST, &run_sync, 0, Kind::RunSync(index)));
                        let wrapped = format!("{prefix}/runsync");
                        patterns.push(Pattern::new(Method::POST, &wrapped, 0, Kind::RunSyncWrapped(index)));
                    }
                }
            }
        }
        // Stable: among equals the earlier function stays first.
        patterns.sort_by_key(|pattern| pattern.segments.iter().filter(|segment| segment.is_none()).count());
        let commands = manifest.commands().filter(|worker| worker.kind == EndpointKind::LoadBalanced);
        let (of_models, routers): (Vec<_>, Vec<_>) =
            manifest.routers().partition(|(_, http)| !http.models.is_empty());
        let mut routers: Vec<_> =
            routers.into_iter().map(|(worker, http)| (worker.name.clone(), http.clone())).collect();
        routers.sort_by_key(|(_, http)| Reverse(http.prefix.as_ref().map_or(0, String::len)));
        let openai = of_models.first().map(|(_, http)| (*http).clone());
        Self { patterns, commands: commands.map(|worker| worker.name.clone()).collect(), routers, openai }
    }

    /// Finds the target of a request.
    ///
    /// # Errors
    /// When there is none: similar paths, or the methods that the path allows.
    pub(crate) fn find(&self, method: &Method, path: &str) -> Result<Target, NoRoute> {
        // Checked first, because the paths of a program are not known here.
        if let Some(target) = self.command(path) {
            return Ok(target);
        }
        // A route for GET also answers HEAD; the body is removed later.
        let method = if method == Method::HEAD { &Method::GET } else { method };
        let matching = || self.patterns.iter().filter(|pattern| pattern.matches(path));
        if let Some(pattern) = matching().find(|pattern| pattern.method == *method) {
            return Ok(pattern.target(path));
        }
        let mut allowed: Vec<&str> = matching().map(|pattern| pattern.method.as_str()).collect();
        if allowed.is_empty() {
            // The paths below its prefix are reserved; the health path is one that a router may have.
            if let Some(target) = self.openai(path).filter(|_| path != OPENAI_HEALTH) {
                return Ok(target);
            }
            if let Some((worker, _)) = self.routers.iter().find(|(_, http)| http.owns(path)) {
                return Ok(Target::Router { worker: worker.clone(), path: path.to_owned() });
            }
            if let Some(target) = self.openai(path) {
                return Ok(target);
            }
            let near = self.run_sync_of(path).unwrap_or_else(|| nearest(path, self.paths()));
            return Err(NoRoute::UnknownPath { near });
        }
        allowed.sort_unstable();
        allowed.dedup();
        Err(NoRoute::WrongMethod { allowed: allowed.join(", ") })
    }

    fn openai(&self, path: &str) -> Option<Target> {
        let is_own = self.openai.as_ref()?.owns(path);
        is_own.then(|| Target::OpenAi { path: path.to_owned() })
    }

    fn command(&self, path: &str) -> Option<Target> {
        let path = path.strip_prefix('/')?;
        let (name, below) = path.split_once('/').unwrap_or((path, ""));
        let worker = self.commands.iter().find(|command| *command == name)?;
        Some(Target::Command { worker: worker.clone(), path: format!("/{below}") })
    }

    /// Where the function is called that a path names without its last segment (`/greet`), as the end of a message.
    fn run_sync_of(&self, path: &str) -> Option<String> {
        let named = path.trim_end_matches('/');
        // The slash keeps out names that only end like another.
        if !named.starts_with('/') {
            return None;
        }
        let end = format!("{named}/{RUN_SYNC}");
        let call = self.patterns.iter().find(|pattern| pattern.path.ends_with(&end))?;
        Some(format!("; to call this function: POST {}", call.path))
    }

    fn paths(&self) -> impl Iterator<Item = &str> {
        let routers = self.routers.iter().map(|(_, http)| http).chain(&self.openai);
        let prefixes = routers.filter_map(|http| http.prefix.as_deref());
        self.patterns.iter().map(|pattern| pattern.path.as_str()).chain(prefixes)
    }
}

impl Pattern {
    fn new(method: Method, path: &str, strip: usize, kind: Kind) -> Self {
        let segment = |text: &str| (!text.starts_with('{')).then(|| text.to_owned());
        let segments = path.trim_start_matches('/').split('/').map(segment).collect();
        Self { method, segments, path: path.to_owned(), strip, kind }
    }

    fn matches(&self, path: &str) -> bool {
        let mut given = path.trim_start_matches('/').split('/');
        let fits = self.segments.iter().all(|segment| match (segment, given.next()) {
            (Some(fixed), Some(given)) => fixed == given,
            (None, Some(given)) => !given.is_empty(),
            (_, None) => false,
        });
        fits && given.next().is_none()
    }

    fn target(&self, path: &str) -> Target {
        match self.kind {
            Kind::RunSync(function) => Target::RunSync { function },
            Kind::RunSyncWrapped(function) => Target::RunSyncWrapped { function },
            Kind::Route(function) => {
                let below = path.trim_start_matches('/').splitn(self.strip + 1, '/').nth(self.strip);
                Target::Route { function, path: format!("/{}", below.unwrap_or_default()) }
            }
        }
    }
}

#[cfg(any(test, fuzzing))]
flash_test_support::fuzz_target!("route_table", |data| {
    // A pattern a line; what follows an empty line is the path that is asked for.
    let text = String::from_utf8_lossy(data);
    let (patterns, path) = text.split_once("\n\n").unwrap_or(("/a/{id}", &text));
    let pattern = |path: &str| Pattern::new(Method::GET, path, 0, Kind::Route(0));
    let patterns = patterns.lines().take(16).map(pattern).collect();
    let table =
        RouteTable { patterns, commands: vec!["service".to_owned()], routers: Vec::new(), openai: None };
    let _ = table.find(&Method::GET, path);
    let _ = table.find(&Method::POST, path);
});

#[cfg(test)]
mod tests {
    use flash_protocol::manifest::{App, ComputeEntry, FunctionEntry, RouteEntry, WorkerType};

    use super::*;

    fn function(name: &str, module: &str, worker: &str, route: Option<(&str, &str)>) -> FunctionEntry {
        FunctionEntry {
            name: name.into(),
            owner: None,
            module: module.into(),
            worker: worker.into(),
            file: String::new(),
            line: 0,
            docs: String::new(),
            route: route.map(|(method, path)| RouteEntry { method: method.into(), path: path.into() }),
            arguments: Vec::new(),
            input: None,
            output: serde_json::Value::Null,
            streams: false,
            settings: Default::default(),
            raw_body: false,
            body_type: None,
            headers: Vec::new(),
            raw_output: false,
            output_type: None,
        }
    }

    fn command(name: &str, kind: EndpointKind) -> WorkerType {
        WorkerType {
            name: name.into(),
            kind,
            compute: ComputeEntry::Cpu { instances: Vec::new() },
            workers_min: 0,
            workers_max: 1,
            idle_timeout_seconds: 5,
            execution_timeout_seconds: 600,
            max_concurrency: 1,
            scaler: kind.default_scaler(),
            buffer: 0,
            lifetime: Default::default(),
            data_centers: Vec::new(),
            disk_gib: None,
            shm_mib: None,
            vram_gib: None,
            http: None,
            max_body_mib: None,
            request_timeout_seconds: None,
            model: None,
            start_timeout_seconds: None,
        }
    }

    fn router(name: &str, prefix: Option<&str>) -> WorkerType {
        let http = HttpEntry {
            prefix: prefix.map(str::to_owned),
            models: Vec::new(),
            function: "web".into(),
            file: String::new(),
            line: 0,
            docs: String::new(),
        };
        WorkerType { http: Some(http), ..command(name, EndpointKind::LoadBalanced) }
    }

    fn models(name: &str, models: &[&str]) -> WorkerType {
        let mut worker = router(name, Some("/v1"));
        let http = worker.http.as_mut().unwrap();
        http.models = models.iter().map(|&name| name.to_owned()).collect();
        worker
    }

    /// Without the router that takes everything.
    fn table() -> RouteTable {
        let mut table = whole_table();
        table.routers.retain(|(_, http)| http.prefix.is_some());
        table
    }

    fn whole_table() -> RouteTable {
        RouteTable::new(&Manifest {
            version: 1,
            app: App { name: "app".into(), version: "0".into() },
            sdk_version: String::new(),
            workers: vec![
                command("gallery", EndpointKind::LoadBalanced),
                command("batch", EndpointKind::Queue),
                router("site", None),
                router("chat", Some("/chat")),
                router("rooms", Some("/chat/rooms")),
                models("talk", &["smol"]),
            ],
            functions: vec![
                function("clean", "cpu_worker", "pre", None),
                function("format", "cpu_worker", "post", None),
                function("by_id", "web", "front", Some(("GET", "/items/{id}"))),
                function("latest", "web", "front", Some(("GET", "/items/latest"))),
            ],
            definitions: serde_json::Map::new(),
        })
    }

    fn get(path: &str) -> Result<Target, NoRoute> {
        table().find(&Method::GET, path)
    }

    fn is_unknown(path: &str) -> bool {
        matches!(get(path), Err(NoRoute::UnknownPath { .. }))
    }

    #[test]
    fn a_path_that_names_a_function_is_answered_with_its_address() {
        let near = |path: &str| match get(path) {
            Err(NoRoute::UnknownPath { near }) => near,
            other => panic!("{path}: {other:?}"),
        };
        for (path, address) in [
            ("/clean", "POST /cpu_worker/clean/run_sync"),
            ("/format/", "POST /cpu_worker/format/run_sync"),
            ("/cpu_worker/format", "POST /cpu_worker/format/run_sync"),
            ("/cpu_worker", "POST /cpu_worker/run_sync"),
        ] {
            assert_eq!(near(path), format!("; to call this function: {address}"));
        }
        // Routes are not called this way, and `/lean` is not the end of `/cpu_worker/clean`.
        for path in ["/by_id", "/lean", "/", "//"] {
            assert!(!near(path).contains("run_sync"), "{path}: {}", near(path));
        }
    }

    #[test]
    fn the_first_function_of_a_module_has_the_short_address_too() {
        let post = |path: &str| table().find(&Method::POST, path).unwrap();
        assert_eq!(post("/cpu_worker/run_sync"), Target::RunSync { function: 0 });
        assert_eq!(post("/cpu_worker/clean/run_sync"), Target::RunSync { function: 0 });
        assert_eq!(post("/cpu_worker/format/runsync"), Target::RunSyncWrapped { function: 1 });
    }

    #[test]
    fn a_fixed_path_wins_over_a_parameter() {
        assert_eq!(get("/items/latest"), Ok(Target::Route { function: 3, path: "/items/latest".into() }));
        let head = table().find(&Method::HEAD, "/items/7").unwrap();
        assert_eq!(Ok(head), get("/items/7"));
        assert_eq!(get("/items/7"), Ok(Target::Route { function: 2, path: "/items/7".into() }));
    }

    #[test]
    fn the_worker_types_name_in_front_is_left_out_for_the_worker() {
        assert_eq!(get("/front/items/7"), Ok(Target::Route { function: 2, path: "/items/7".into() }));
    }

    #[test]
    fn an_unknown_path_is_not_a_wrong_method() {
        assert!(is_unknown("/item/7/x") && is_unknown("/items/"));
        let allowed = "POST".to_owned();
        assert_eq!(get("/cpu_worker/run_sync"), Err(NoRoute::WrongMethod { allowed }));
    }

    #[test]
    fn a_router_gets_what_no_route_takes_and_the_longest_prefix_wins() {
        let find = |path: &str| whole_table().find(&Method::PATCH, path);
        let to = |worker: &str, path: &str| {
            Ok(Target::Router { worker: worker.to_owned(), path: path.to_owned() })
        };
        for (path, worker) in [
            ("/", "site"),
            ("/chats", "site"),
            ("/front/other", "site"),
            ("/chat", "chat"),
            ("/chat/a%20b/", "chat"),
            ("/chat/rooms/7", "rooms"),
        ] {
            assert_eq!(find(path), to(worker, path), "{path}");
        }
        let allowed = "GET".to_owned();
        assert_eq!(
            find("/items/latest"),
            Err(NoRoute::WrongMethod { allowed }),
            "a route has its path alone"
        );
        assert!(matches!(find("/gallery/x"), Ok(Target::Command { .. })));
    }

    #[test]
    fn the_paths_of_openais_api_go_by_model_and_a_router_may_have_its_health() {
        let openai = |path: &str| Ok(Target::OpenAi { path: path.to_owned() });
        assert_eq!(get("/v1/chat/completions"), openai("/v1/chat/completions"));
        assert_eq!(get("/health"), openai("/health"));
        assert!(is_unknown("/v10") && is_unknown("/health/x"));
        let find = |path: &str| whole_table().find(&Method::GET, path);
        assert_eq!(find("/v1/models"), openai("/v1/models"));
        let site = Ok(Target::Router { worker: "site".to_owned(), path: "/health".to_owned() });
        assert_eq!(find("/health"), site);
    }

    #[test]
    fn everything_below_a_load_balanced_command_is_its_own() {
        let to = |path: &str| Target::Command { worker: "gallery".into(), path: path.into() };
        for method in [Method::GET, Method::POST, Method::OPTIONS] {
            let find = |path: &str| table().find(&method, path).unwrap();
            assert_eq!(find("/gallery"), to("/"));
            assert_eq!(find("/gallery/"), to("/"));
            assert_eq!(find("/gallery//a%20b/v2/"), to("//a%20b/v2/"));
        }
        assert!(is_unknown("/galleryx"));
        assert!(is_unknown("/batch/x"), "a queue has no paths");
    }
}
