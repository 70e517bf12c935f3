//! The operations of the queue API, below `/v2/ENDPOINT/`, in one table: their paths, methods and handlers, and who may
//! send them.
use std::sync::Arc;

use axum::{
    Router,
    extract::Request,
    routing::{MethodFilter, MethodRouter, on},
};
use flash_text::{Truncated, nearest};

use super::{
    client_api as client, dashboard, error::Refusal, exchange, pod, state::GatewayState, worker_api as worker,
};

/// One path of the queue API.
struct Operation {
    /// The first segment after the endpoint.
    name: &'static str,
    /// The segments after the name.
    rest: &'static str,
    methods: Methods,
    caller: Caller,
    handler: fn(MethodFilter) -> MethodRouter<Arc<GatewayState>>,
}

/// Who may send an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Caller {
    /// A client, or a worker that calls another endpoint: the keys of all workers are accepted too.
    ClientOrWorker,
    /// A client: it is about a whole endpoint.
    Client,
    /// The worker in the path. Its handler checks the worker's own key.
    Worker,
}

/// The methods of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Methods {
    Read,
    Post,
    ReadOrPost,
    /// GET takes what it answers with. HEAD would take it and throw it away.
    Take,
    TakeOrPost,
}

use Caller::{Client, ClientOrWorker, Worker};
use Methods::{Post, Read, ReadOrPost, Take, TakeOrPost};

impl Methods {
    /// As the header `Allow` names them.
    fn allowed(self) -> &'static str {
        match self {
            Read => "GET, HEAD",
            Post => "POST",
            ReadOrPost => "GET, HEAD, POST",
            Take => "GET",
            TakeOrPost => "GET, POST",
        }
    }

    /// What they are for the router, which answers HEAD as GET unless told otherwise.
    fn filter(self) -> MethodFilter {
        match self {
            Read | Take => MethodFilter::GET,
            Post => MethodFilter::POST,
            ReadOrPost | TakeOrPost => MethodFilter::GET.or(MethodFilter::POST),
        }
    }
}

/// In the order in which [`unknown`] names them.
static OPERATIONS: [Operation; 22] = [
    operation("run", "", Post, ClientOrWorker, |by| on(by, client::run)),
    operation("runsync", "", Post, ClientOrWorker, |by| on(by, client::runsync)),
    operation("status", "/{job}", ReadOrPost, ClientOrWorker, |by| on(by, client::status)),
    operation("status-sync", "/{job}", ReadOrPost, ClientOrWorker, |by| on(by, client::status_sync)),
    operation("stream", "/{job}", TakeOrPost, ClientOrWorker, |by| on(by, client::stream)),
    operation("cancel", "/{job}", Post, ClientOrWorker, |by| on(by, client::cancel)),
    operation("retry", "/{job}", Post, ClientOrWorker, |by| on(by, client::retry)),
    operation("purge-queue", "", Post, Client, |by| on(by, client::purge)),
    operation("health", "", Read, ClientOrWorker, |by| on(by, client::health)),
    operation("metrics", "", Read, Client, |by| on(by, client::metrics)),
    operation("requests", "", Read, Client, |by| on(by, client::requests)),
    operation("dead", "", Read, Client, |by| on(by, client::dead)),
    operation("dead", "/requeue", Post, Client, |by| on(by, client::requeue_all_dead)),
    operation("dead", "/{job}/requeue", Post, Client, |by| on(by, client::requeue_dead)),
    operation("exchange", "/{worker}", Take, Worker, |by| on(by, exchange::open)),
    operation("pod", "/{worker}", Take, Worker, |by| on(by, pod::join)),
    operation("job-take", "/{worker}", Take, Worker, |by| on(by, worker::take)),
    operation("job-take-batch", "/{worker}", Take, Worker, |by| on(by, worker::take_batch)),
    operation("job-stop", "/{worker}", Take, Worker, |by| on(by, worker::stops)),
    operation("job-done", "/{worker}/{job}", Post, Worker, |by| on(by, worker::done)),
    operation("job-stream", "/{worker}/{job}", Post, Worker, |by| on(by, worker::chunk)),
    operation("ping", "/{worker}", Read, Worker, |by| on(by, worker::ping)),
];

const fn operation(
    name: &'static str,
    rest: &'static str,
    methods: Methods,
    caller: Caller,
    handler: fn(MethodFilter) -> MethodRouter<Arc<GatewayState>>,
) -> Operation {
    Operation { name, rest, methods, caller, handler }
}

impl Operation {
    /// Whether this is its path: `below` are the segments after the endpoint.
    fn fits(&self, below: &str) -> bool {
        let own = std::iter::once(self.name).chain(self.rest.split('/').skip(1));
        let is_same = |(own, given): (&str, &str)| own == given || own.starts_with('{');
        own.clone().count() == below.split('/').count() && own.zip(below.split('/')).all(is_same)
    }
}

/// All operations.
pub(super) fn router() -> Router<Arc<GatewayState>> {
    OPERATIONS.iter().fold(Router::new(), |router, operation| {
        let path = format!("/v2/{{endpoint}}/{}{}", operation.name, operation.rest);
        let methods = (operation.handler)(operation.methods.filter());
        router.route(
            &path,
            match operation.methods {
                Take | TakeOrPost => methods.on(MethodFilter::HEAD, wrong_method),
                Read | Post | ReadOrPost => methods,
            },
        )
    })
}

/// The answer to a method that a path does not take.
pub(super) async fn wrong_method(request: Request) -> Refusal {
    let path = request.uri().path();
    // All other fixed paths are read.
    let allowed = allowed_methods(path).or_else(|| dashboard::allowed_methods(path)).unwrap_or("GET, HEAD");
    Refusal::method_not_allowed(request.method(), path, allowed.to_owned())
}

/// Who may send a request to this path; `None` for an operation that does not exist.
pub(super) fn caller(path: &str) -> Option<Caller> {
    let name = below_endpoint(path)?.split('/').next()?;
    OPERATIONS.iter().find(|operation| operation.name == name).map(|operation| operation.caller)
}

/// The allowed methods of a path; `None` for one that does not exist.
pub(super) fn allowed_methods(path: &str) -> Option<&'static str> {
    let below = below_endpoint(path)?;
    OPERATIONS.iter().find(|operation| operation.fits(below)).map(|operation| operation.methods.allowed())
}

/// The answer to a path below `/v2/` that does not exist. It names the operations for clients.
pub(super) fn unknown(path: &str) -> Refusal {
    let operations = OPERATIONS.iter().filter(|operation| operation.caller != Worker);
    let mut names: Vec<&str> = operations.map(|operation| operation.name).collect();
    names.dedup();
    let given = path.split('/').nth(3).unwrap_or_default();
    let near = nearest(given, names.iter().copied());
    Refusal::not_found(format!(
        "the queue API does not have {}{near}; it has /v2/ENDPOINT/{{{}}}",
        Truncated(path),
        names.join(", ")
    ))
}

/// The segments after the endpoint.
fn below_endpoint(path: &str) -> Option<&str> {
    path.strip_prefix("/v2/")?.split_once('/').map(|(_, below)| below)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use flash_protocol::manifest::Manifest;

    use super::*;
    use crate::interface::render_openapi;

    #[test]
    fn the_methods_of_a_path_are_those_of_its_operation() {
        let methods = [
            "/v2/x/dead",
            "/v2/x/dead/requeue",
            "/v2/x/dead/7/requeue",
            "/v2/x/job-done/w/7",
            "/v2/x/status/7",
            "/v2/x/stream/7",
            "/v2/x/job-take/w",
        ]
        .map(allowed_methods);
        let expected = ["GET, HEAD", "POST", "POST", "POST", "GET, HEAD, POST", "GET, POST", "GET"].map(Some);
        assert_eq!(methods, expected);
        assert_eq!(["/v2/x/status", "/v2/x/nothing", "/v2/x", "/docs"].map(allowed_methods), [None; 4]);
    }

    #[test]
    fn an_operation_decides_who_may_call_whatever_follows_it() {
        assert_eq!(caller("/v2/x/ping/w/more"), Some(Worker));
        assert_eq!(caller("/v2/x/dead/7/requeue"), Some(Client));
        assert_eq!(caller("/v2/x/run"), Some(ClientOrWorker));
        assert_eq!(["/v2/x/nothing", "/v2/run", "/ping"].map(caller), [None; 3]);
    }

    /// [`caller`] looks at the name alone.
    #[test]
    fn operations_with_one_name_have_one_caller() {
        for operation in &OPERATIONS {
            for other in OPERATIONS.iter().filter(|other| other.name == operation.name) {
                assert_eq!(operation.caller, other.caller, "{}{}", other.name, other.rest);
            }
        }
    }

    /// `interface` describes the operations that this table answers.
    #[test]
    fn each_operation_for_clients_is_described_and_no_other_is() {
        let manifest: Manifest = serde_json::from_value(serde_json::json!({
            "version": 1, "app": { "name": "app", "version": "0.1.0" }, "sdk_version": "0.1.0", "functions": [],
            "workers": [{
                "name": "x", "kind": "queue", "compute": { "type": "cpu", "instances": ["cpu3c-1-2"] },
                "workers_min": 0, "workers_max": 1, "idle_timeout_seconds": 5, "execution_timeout_seconds": 60,
                "max_concurrency": 1, "scaler": { "type": "queue_delay", "seconds": 4 },
            }],
        }))
        .unwrap();
        let document: serde_json::Value = serde_json::from_str(&render_openapi(&manifest, 1, true)).unwrap();
        let described = document["paths"].as_object().unwrap().iter().flat_map(|(path, methods)| {
            methods.as_object().unwrap().keys().map(move |method| format!("{} {path}", method.to_uppercase()))
        });
        let for_clients = OPERATIONS.iter().filter(|operation| operation.caller != Worker);
        let answered: BTreeSet<String> = for_clients
            .map(|operation| {
                // One method is enough: the others of a path do the same.
                let method = if operation.methods == Post { "POST" } else { "GET" };
                format!("{method} /v2/x/{}{}", operation.name, operation.rest)
            })
            .collect();
        assert_eq!(described.collect::<BTreeSet<_>>(), answered);
    }

    #[test]
    fn an_unknown_path_names_the_operations_for_clients_once_each() {
        let refusal = unknown("/v2/x/statuss/7");
        assert_eq!(
            refusal.message(),
            "the queue API does not have /v2/x/statuss/7; did you mean `status`, `status-sync`?; it has \
             /v2/ENDPOINT/{run, runsync, status, status-sync, stream, cancel, retry, purge-queue, health, metrics, \
             requests, dead}"
        );
    }
}
