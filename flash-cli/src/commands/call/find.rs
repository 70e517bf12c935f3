//! Finds the function that a name refers to.
use flash_protocol::manifest::{EndpointKind, FunctionEntry, HttpEntry, Manifest, WorkerType};
use flash_text::nearest;

/// What is called.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Callee<'a> {
    /// A job on a worker type. For a program there is no function, and its input is not checked.
    Job { worker: &'a str, function: Option<&'a FunctionEntry> },
    /// A request to a load-balanced worker type.
    Route(&'a FunctionEntry),
}

impl<'a> Callee<'a> {
    pub(super) fn worker(&self) -> &'a str {
        match self {
            Self::Job { worker, .. } => worker,
            Self::Route(function) => &function.worker,
        }
    }

    pub(super) fn function(&self) -> Option<&'a FunctionEntry> {
        match self {
            Self::Job { function, .. } => *function,
            Self::Route(function) => Some(function),
        }
    }

    pub(super) fn name(&self) -> String {
        self.function().map_or_else(|| self.worker().to_owned(), name_of)
    }

    fn of(function: &'a FunctionEntry) -> Self {
        match function.route {
            Some(_) => Self::Route(function),
            None => Self::Job { worker: &function.worker, function: Some(function) },
        }
    }
}

/// Why a name does not refer to exactly one function.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum FindError {
    #[error("the app has no function `{name}`{near}")]
    Unknown { name: String, near: String },
    #[error(
        "`{name}` is ambiguous: it may be {}",
        among.iter().map(|one| format!("`{one}`")).collect::<Vec<_>>().join(" or ")
    )]
    Several { name: String, among: Vec<String> },
    #[error("`{name}` makes a router, which has no calls: send HTTP requests to its paths, {paths}")]
    Router { name: String, paths: String },
}

/// Finds a function by name: as in code, `module/function`, a bare name, a route, or the worker type of a program.
///
/// # Errors
/// With the nearest names when nothing matches, with all matches when there are several.
pub(super) fn find<'a>(manifest: &'a Manifest, name: &str) -> Result<Callee<'a>, FindError> {
    let ways: [&dyn Fn(&FunctionEntry) -> bool; 4] = [
        &|function| function.call_name() == name,
        &|function| in_module(function) == name || format!("{}/{}", function.module, function.name) == name,
        &|function| function.name == name,
        &|function| is_route(function, name),
    ];
    for way in ways {
        let found: Vec<&FunctionEntry> = manifest.functions.iter().filter(|function| way(function)).collect();
        match found.as_slice() {
            [] => {}
            [only] => return Ok(Callee::of(only)),
            several => {
                let among = several.iter().map(|function| apart(function, several)).collect();
                return Err(FindError::Several { name: name.to_owned(), among });
            }
        }
    }
    if let Some((_, router)) = manifest.routers().find(|(worker, router)| is_router(worker, router, name)) {
        let paths = match &router.prefix {
            Some(prefix) => format!("`{prefix}` and everything below it"),
            None => "all that nothing else takes".to_owned(),
        };
        return Err(FindError::Router { name: name.to_owned(), paths });
    }
    let program =
        manifest.commands().find(|worker| worker.name == name && takes_jobs(manifest, &worker.name));
    program.map(|worker| Callee::Job { worker: &worker.name, function: None }).ok_or_else(|| {
        let names: Vec<String> = names(manifest).collect();
        let near = nearest(name, names.iter().map(String::as_str));
        FindError::Unknown { name: name.to_owned(), near }
    })
}

/// The largest number of names that a hint lists.
const LISTED: usize = 12;

/// The first name of everything that can be called; `None` if there are none or too many to list.
pub(super) fn listed(manifest: &Manifest) -> Option<String> {
    let programs = manifest.commands().map(|worker| worker.name.clone());
    let names: Vec<String> = manifest.functions.iter().map(name_of).chain(programs).collect();
    (1..=LISTED).contains(&names.len()).then(|| names.join(", "))
}

/// `POST /classify` or `/classify`.
fn is_route(function: &FunctionEntry, name: &str) -> bool {
    let Some(route) = &function.route else { return false };
    match name.trim().split_once(char::is_whitespace) {
        Some((method, path)) => method.eq_ignore_ascii_case(&route.method) && path.trim() == route.path,
        None => name == route.path,
    }
}

/// Whether a name is that of a router: of its function, its worker type, or its prefix.
fn is_router(worker: &WorkerType, router: &HttpEntry, name: &str) -> bool {
    let bare = router.function.rsplit("::").next();
    name == router.function
        || bare == Some(name)
        || name == worker.name
        || router.prefix.as_deref() == Some(name)
}

fn in_module(function: &FunctionEntry) -> String {
    format!("{}/{}", function.module, function.call_name())
}

/// A name that is unique to this function.
fn apart(function: &FunctionEntry, others: &[&FunctionEntry]) -> String {
    let own = function.call_name();
    let route = name_of(function);
    let of_all = [own, route, in_module(function)];
    let alone = of_all.iter().find(|name| {
        let same =
            |other: &&&FunctionEntry| [other.call_name(), name_of(other), in_module(other)].contains(*name);
        others.iter().filter(same).count() == 1
    });
    alone.cloned().unwrap_or_else(|| in_module(function))
}

fn names(manifest: &Manifest) -> impl Iterator<Item = String> {
    let of = |function: &FunctionEntry| {
        let route = function.route.as_ref().map(|route| route.path.clone());
        let bare = function.owner.as_ref().map(|_| function.name.clone());
        [Some(function.call_name()), bare, Some(in_module(function)), route].into_iter().flatten()
    };
    let programs = manifest.commands().map(|worker| worker.name.clone());
    manifest.functions.iter().flat_map(of).chain(programs)
}

/// The function's name in messages.
pub(super) fn name_of(function: &FunctionEntry) -> String {
    match &function.route {
        Some(route) => format!("{} {}", route.method, route.path),
        None => function.call_name(),
    }
}

/// Whether a worker type takes jobs.
fn takes_jobs(manifest: &Manifest, worker: &str) -> bool {
    manifest.worker(worker).is_some_and(|worker| worker.kind == EndpointKind::Queue)
}

#[cfg(test)]
pub(super) mod tests {
    use flash_protocol::manifest::{App, RouteEntry};

    use super::*;

    pub(in super::super) fn function(
        name: &str,
        owner: Option<&str>,
        module: &str,
        route: Option<(&str, &str)>,
    ) -> FunctionEntry {
        FunctionEntry {
            name: name.to_owned(),
            owner: owner.map(str::to_owned),
            module: module.to_owned(),
            worker: format!("{module}_worker"),
            file: "src/main.rs".to_owned(),
            line: 1,
            docs: String::new(),
            route: route
                .map(|(method, path)| RouteEntry { method: method.to_owned(), path: path.to_owned() }),
            arguments: Vec::new(),
            input: None,
            output: serde_json::Value::Bool(true),
            streams: false,
            settings: Default::default(),
            raw_body: false,
            body_type: None,
            headers: Vec::new(),
            raw_output: false,
            output_type: None,
        }
    }

    pub(in super::super) fn manifest(functions: Vec<FunctionEntry>) -> Manifest {
        Manifest {
            version: 1,
            app: App { name: "app".to_owned(), version: "0.1.0".to_owned() },
            sdk_version: "0.1.0".to_owned(),
            workers: Vec::new(),
            functions,
            definitions: serde_json::Map::new(),
        }
    }

    fn example() -> Manifest {
        manifest(vec![
            function("preprocess_text", None, "cpu", None),
            function("classify", Some("Sentiment"), "gpu", None),
            function("score", Some("Sentiment"), "gpu", None),
            function("score", Some("Ranking"), "gpu", None),
            function("help", None, "cpu", None),
            function("help", None, "gpu", None),
            function("classify", None, "pipeline", Some(("POST", "/classify"))),
            function("read", None, "web", Some(("GET", "/items/{id}"))),
            function("write", None, "web", Some(("PUT", "/items/{id}"))),
        ])
    }

    #[test]
    fn a_function_is_found_by_each_of_its_names() {
        let manifest = example();
        for (name, index) in [
            ("preprocess_text", 0),
            ("cpu/preprocess_text", 0),
            ("Sentiment::classify", 1),
            ("gpu/Sentiment::classify", 1),
            ("gpu/classify", 1),
            ("gpu/help", 5),
            ("/classify", 6),
            ("POST /classify", 6),
            ("post  /classify", 6),
            ("classify", 6),
            ("GET /items/{id}", 7),
            ("write", 8),
        ] {
            let found = find(&manifest, name).unwrap();
            assert_eq!(found.function(), Some(&manifest.functions[index]), "{name}");
            assert_eq!(matches!(found, Callee::Route(_)), index >= 6, "{name}");
        }
    }

    #[test]
    fn a_mistake_is_answered_with_names_that_work() {
        let manifest = example();
        let unknown = find(&manifest, "preproces_text").unwrap_err().to_string();
        assert!(unknown.contains("did you mean `preprocess_text`"), "{unknown}");
        for (name, among) in [
            ("score", ["Sentiment::score", "Ranking::score"]),
            ("help", ["cpu/help", "gpu/help"]),
            ("/items/{id}", ["read", "write"]),
        ] {
            let Err(FindError::Several { among: found, .. }) = find(&manifest, name) else {
                panic!("{name}")
            };
            assert_eq!(found, among, "{name}");
            assert!(found.iter().all(|name| find(&manifest, name).is_ok()));
        }
    }
}
