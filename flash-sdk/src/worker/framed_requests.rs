//! Requests to routes that come as frames over the exchange. The router that serves those over HTTP answers them too.
//!
//! An answer that is too long for a frame, or whose length is not known, is *parked*: the platform fetches it over HTTP, which
//! knows how to make a sender wait.
use std::{
    collections::{HashMap, hash_map::Entry},
    convert::Infallible,
    sync::Arc,
};

use axum::{
    Router,
    body::Body,
    extract::{Path, State},
    response::{IntoResponse as _, Response},
    routing,
};
use bytes::Bytes;
use flash_protocol::{
    ErrorKind, WireError,
    wire::{
        error_body,
        exchange::{
            AnswerFrame, Fields, MAX_BODY_BYTES, MAX_FIELDS, ParkedFrame, RequestFrame, ToPlatform, Writer,
        },
    },
};
use http::{Request, StatusCode, header};
use hyper::body::Body as _;
use parking_lot::{Mutex, MutexGuard};
use tokio::task::JoinHandle;
use tokio_util::task::{TaskTracker, task_tracker::TaskTrackerToken};
use tower_service::Service as _;

/// Where parked answers are. No route of an app starts like this: `#[remote]` refuses it.
const PARKED_PATH: &str = "/_flash/parked/";

/// See the module. Cheap to clone.
#[derive(Clone)]
pub(super) struct FramedRequests {
    router: Router,
    worker_id: Arc<str>,
    tasks: TaskTracker,
    shared: Arc<Mutex<Shared>>,
}

#[derive(Default)]
struct Shared {
    /// By slot: what is being answered. `None` until its task is known.
    running: HashMap<u64, Option<JoinHandle<()>>>,
    /// By slot.
    parked: HashMap<u64, Parked>,
}

/// An answer that waits to be fetched.
struct Parked {
    /// Nobody can guess it.
    name: String,
    response: Response,
    _under_way: TaskTrackerToken,
}

impl FramedRequests {
    /// Requests for this router. Returns the router with the paths of parked answers too.
    pub(super) fn new(router: Router, worker_id: &str) -> (Self, Router) {
        let shared = Arc::<Mutex<Shared>>::default();
        let parked = Router::new()
            .route(&format!("{PARKED_PATH}{{slot}}/{{name}}"), routing::get(fetched))
            .with_state(shared.clone());
        let all = router.clone().merge(parked);
        (Self { router, worker_id: worker_id.into(), tasks: TaskTracker::new(), shared }, all)
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock()
    }

    /// Answers a request. One that comes once the worker is ending is not taken.
    pub(super) fn start(&self, frame: RequestFrame, frames: &Writer<ToPlatform>) {
        let slot = frame.slot;
        if self.tasks.is_closed() {
            frames.send(ToPlatform::NotTaken(slot));
            return;
        }
        self.lock().running.insert(slot, None);
        let request_id = frame.headers.text("x-request-id").map(str::to_owned);
        let answering = Answering { requests: self.clone(), slot, request_id, frames: frames.clone() };
        let task = self.tasks.spawn(async move {
            let response = match request_of(frame) {
                Some(request) => answering.requests.router.clone().call(request).await.unwrap_or_else(never),
                None => StatusCode::BAD_REQUEST.into_response(),
            };
            let answer = answering.requests.answer_of(&answering, response).await;
            answering.ends_with(answer);
        });
        // It may have ended already.
        if let Some(running) = self.lock().running.get_mut(&slot) {
            *running = Some(task);
        }
    }

    /// Nobody waits for the request in this slot any more. Completes when nothing of it is answered or parked.
    pub(super) fn cancel(&self, slot: u64) -> impl Future<Output = ()> + Send + use<> {
        let (task, own) = (self.lock().running.remove(&slot).flatten(), self.clone());
        if let Some(task) = &task {
            task.abort();
        }
        async move {
            // It may be busy, and park its answer before it sees that it is aborted.
            if let Some(task) = task {
                let _ = task.await;
            }
            let parked = own.lock().parked.remove(&slot);
            drop(parked);
        }
    }

    /// The platform is gone, so nobody waits for anything.
    pub(super) fn cancel_all(&self) -> impl Future<Output = ()> + Send + use<> {
        let slots: Vec<u64> = {
            let shared = self.lock();
            shared.running.keys().chain(shared.parked.keys()).copied().collect()
        };
        let cancelled: Vec<_> = slots.into_iter().map(|slot| self.cancel(slot)).collect();
        async move {
            for cancelled in cancelled {
                cancelled.await;
            }
        }
    }

    /// Completes when nothing is answered any more and no answer waits to be fetched. Nothing more is taken.
    pub(super) async fn ended(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }

    async fn answer_of(&self, answering: &Answering, response: Response) -> ToPlatform {
        let slot = answering.slot;
        let length = response.body().size_hint().exact();
        let is_long = length.is_none_or(|length| length > MAX_BODY_BYTES as u64);
        if is_long || response.headers().len() > MAX_FIELDS {
            return self.park(slot, response);
        }
        let (head, body) = response.into_parts();
        match axum::body::to_bytes(body, MAX_BODY_BYTES).await {
            Ok(body) => {
                let (status, headers) = (head.status.as_u16(), Fields::of(&head.headers));
                ToPlatform::Answer(AnswerFrame { slot, status, headers, body })
            }
            Err(error) => answering.broken(&format!("the answer ended early: {error}")),
        }
    }

    fn park(&self, slot: u64, response: Response) -> ToPlatform {
        let name = uuid::Uuid::new_v4().simple().to_string();
        let path = format!("{PARKED_PATH}{slot}/{name}");
        self.lock().parked.insert(slot, Parked { name, response, _under_way: self.tasks.token() });
        ToPlatform::Parked(ParkedFrame { slot, path })
    }
}

/// Gives a parked answer away.
async fn fetched(
    State(shared): State<Arc<Mutex<Shared>>>,
    Path((slot, name)): Path<(u64, String)>,
) -> Response {
    let mut shared = shared.lock();
    match shared.parked.entry(slot) {
        Entry::Occupied(parked) if parked.get().name == name => parked.remove().response,
        _ => StatusCode::NOT_FOUND.into_response(),
    }
}

/// A request that is being answered.
struct Answering {
    requests: FramedRequests,
    slot: u64,
    request_id: Option<String>,
    frames: Writer<ToPlatform>,
}

impl Answering {
    fn ends_with(self, answer: ToPlatform) {
        self.requests.lock().running.remove(&self.slot);
        // If the connection is broken, so is the worker.
        self.frames.send(answer);
    }

    fn broken(&self, message: &str) -> ToPlatform {
        let error = WireError::new(ErrorKind::Transport, message);
        let json = (header::CONTENT_TYPE.as_str().into(), Bytes::from_static(b"application/json"));
        ToPlatform::Answer(AnswerFrame {
            slot: self.slot,
            status: StatusCode::BAD_GATEWAY.as_u16(),
            headers: Fields(vec![json]),
            body: error_body(&error, Some(&self.requests.worker_id), self.request_id.as_deref()).into(),
        })
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        // It is there no more if it was answered or cancelled. Otherwise it panicked.
        let running = self.requests.lock().running.remove(&self.slot);
        if running.is_some() {
            self.frames.send(self.broken("the worker broke off before it answered"));
        }
    }
}

/// `None` if it is not one.
fn request_of(frame: RequestFrame) -> Option<Request<Body>> {
    let RequestFrame { method, target, headers, body, .. } = frame;
    let mut request = Request::builder().method(&*method).uri(target).body(Body::from(body)).ok()?;
    *request.headers_mut() = headers.into_headers()?;
    Some(request)
}

fn never(impossible: Infallible) -> Response {
    match impossible {}
}

#[cfg(test)]
mod tests;
