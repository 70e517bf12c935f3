//! The load: requests of three kinds in turns, until it is stopped. A request that fails, or has a wrong answer, is counted,
//! and the next one is sent.
use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use hyper::Method;
use parking_lot::Mutex;
use tokio::task::JoinSet;

use super::{
    super::load::{self, Target},
    app::App,
};
use crate::failure::Failure;

/// After a failed request: its worker may be gone.
const PAUSE: Duration = Duration::from_millis(50);

/// One in this many requests is a job whose submitter does not wait. They are few, because their results stay in memory
/// for half an hour.
const JOB_OF: u32 = 100;

/// What happened since the last look.
#[derive(Default)]
pub(super) struct Taken {
    /// Nanoseconds of each answered request.
    pub latencies: Vec<u64>,
    pub failed: u32,
    /// Of one that failed.
    pub failure: Option<String>,
}

impl Taken {
    fn count(&mut self, failure: &Failure) {
        self.failed += 1;
        self.failure.get_or_insert_with(|| failure.to_string());
    }
}

/// Running load.
pub(super) struct Traffic {
    shared: Arc<Shared>,
    tasks: JoinSet<()>,
}

#[derive(Default)]
struct Shared {
    taken: Mutex<Taken>,
    stopped: AtomicBool,
}

impl Traffic {
    pub(super) fn start(app: &App, connections: u32) -> Self {
        let shared = Arc::new(Shared::default());
        let mut tasks = JoinSet::new();
        for number in 0..connections {
            let (shared, address) = (shared.clone(), app.address());
            tasks.spawn(async move { shared.ask(address, number).await });
        }
        Self { shared, tasks }
    }

    pub(super) fn take(&self) -> Taken {
        std::mem::take(&mut *self.shared.taken.lock())
    }

    /// Lets the last requests end.
    pub(super) async fn stop(mut self) -> Taken {
        self.shared.stopped.store(true, Ordering::Relaxed);
        while self.tasks.join_next().await.is_some() {}
        self.take()
    }
}

impl Shared {
    async fn ask(&self, address: SocketAddr, mut number: u32) {
        while !self.stopped.load(Ordering::Relaxed) {
            number = number.wrapping_add(1);
            let began = Instant::now();
            let asked = match (number % JOB_OF, number % 2) {
                (0, _) => job(address).await,
                (_, 0) => load::once(&waited(address)).await.map(|_| ()),
                _ => load::once(&route(address)).await.map(|_| ()),
            };
            let took = u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX);
            match asked {
                Ok(()) => self.taken.lock().latencies.push(took),
                Err(failure) => {
                    self.taken.lock().count(&failure);
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }
}

/// One request of each kind.
pub(super) async fn ask_everything(app: &App) -> Result<(), Failure> {
    load::once(&route(app.address())).await?;
    load::once(&waited(app.address())).await?;
    job(app.address()).await
}

/// A call of the route, which makes two jobs.
pub(super) fn route(address: SocketAddr) -> Target {
    target(address, "the route", Method::POST, "/hello", r#"{"names":["Ada","Bob"]}"#, ", Ada!\"")
}

/// A job whose submitter waits.
fn waited(address: SocketAddr) -> Target {
    let body = r#"{"input":{"name":"Ada"}}"#;
    target(address, "runsync", Method::POST, "/v2/greeter/runsync", body, ", Ada!\"")
}

/// A job whose submitter asks later.
async fn job(address: SocketAddr) -> Result<(), Failure> {
    let body = r#"{"input":{"name":"Ada"}}"#;
    let (answer, _) =
        load::once(&target(address, "run", Method::POST, "/v2/greeter/run", body, "IN_QUEUE")).await?;
    let id = load::job_id(&answer).ok_or_else(|| Failure::new("an answer of run contains no job ID"))?;
    let path = format!("/v2/greeter/status-sync/{id}");
    load::once(&target(address, "status-sync", Method::GET, &path, "", ", Ada!\"")).await.map(|_| ())
}

fn target(
    address: SocketAddr,
    name: &'static str,
    method: Method,
    path: &str,
    body: &'static str,
    expected: &'static str,
) -> Target {
    Target {
        name,
        address,
        method,
        path: path.to_owned(),
        body: Bytes::from_static(body.as_bytes()),
        expected,
    }
}
