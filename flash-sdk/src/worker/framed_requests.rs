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
        exchange::{AnswerFrame, Fields, MAX_BODY_BYTES, ParkedFrame, RequestFrame, ToPlatform, Writer},
    },
};
use http::{Request, StatusCode, header};
use hyper::body::Body as _;
use parking_lot::{Mutex, MutexGuard};
use tokio::task::AbortHandle;
use tokio_util::task::{TaskTracker, task_tracker::TaskTrackerToken};
use tower_service::Service as _;

/// Where parked answers are. No route of an app starts like this.
const PARKED_PATH: &str = "/_flash_parked/";

/// See the module. Cheap to clone.
#[derive(Clone)]
pub(super) struct FramedRequests {
    router: Router,
    tasks: TaskTracker,
    shared: Arc<Mutex<Shared>>,
}

#[derive(Default)]
struct Shared {
    /// By slot: what is being answered.
    running: HashMap<u64, AbortHandle>,
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
    pub(super) fn new(router: Router) -> (Self, Router) {
        let shared = Arc::<Mutex<Shared>>::default();
        let parked = Router::new()
            .route(&format!("{PARKED_PATH}{{slot}}/{{name}}"), routing::get(fetched))
            .with_state(shared.clone());
        let all = router.clone().merge(parked);
        (Self { router, tasks: TaskTracker::new(), shared }, all)
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock()
    }

    /// Answers a request.
    pub(super) fn start(&self, frame: RequestFrame, frames: &Writer<ToPlatform>) {
        let slot = frame.slot;
        let (own, running) = (self.clone(), Running { requests: self.clone(), slot, frames: frames.clone() });
        // Held until the task is known, so that it cannot end before.
        let mut shared = self.lock();
        let task = self.tasks.spawn(async move {
            let response = match request_of(frame) {
                Some(request) => own.router.clone().call(request).await.unwrap_or_else(never),
                None => StatusCode::BAD_REQUEST.into_response(),
            };
            running.ends_with(own.answer_of(slot, response).await);
        });
        shared.running.insert(slot, task.abort_handle());
    }

    /// Nobody waits for the request in this slot any more. It may have been answered.
    pub(super) fn cancel(&self, slot: u64) {
        let mut shared = self.lock();
        shared.parked.remove(&slot);
        if let Some(task) = shared.running.remove(&slot) {
            task.abort();
        }
    }

    /// Completes when nothing is answered any more and no answer waits to be fetched. What comes later is answered, but
    /// not waited for.
    pub(super) async fn ended(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }

    async fn answer_of(&self, slot: u64, response: Response) -> ToPlatform {
        let length = response.body().size_hint().exact();
        if length.is_none_or(|length| length > MAX_BODY_BYTES as u64) {
            return self.park(slot, response);
        }
        let (head, body) = response.into_parts();
        match axum::body::to_bytes(body, MAX_BODY_BYTES).await {
            Ok(body) => {
                let (status, headers) = (head.status.as_u16(), Fields::of(&head.headers));
                ToPlatform::Answer(AnswerFrame { slot, status, headers, body })
            }
            Err(error) => broken(slot, &format!("the answer ended early: {error}")),
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
struct Running {
    requests: FramedRequests,
    slot: u64,
    frames: Writer<ToPlatform>,
}

impl Running {
    fn ends_with(self, answer: ToPlatform) {
        self.requests.lock().running.remove(&self.slot);
        // If the connection is broken, so is the worker.
        self.frames.send(answer);
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It is there no more if it was answered or cancelled. Otherwise it panicked.
        if self.requests.lock().running.remove(&self.slot).is_some() {
            self.frames.send(broken(self.slot, "the worker broke off before it answered"));
        }
    }
}

fn broken(slot: u64, message: &str) -> ToPlatform {
    let error = WireError::new(ErrorKind::Transport, message);
    ToPlatform::Answer(AnswerFrame {
        slot,
        status: StatusCode::BAD_GATEWAY.as_u16(),
        headers: Fields(vec![(
            header::CONTENT_TYPE.as_str().into(),
            Bytes::from_static(b"application/json"),
        )]),
        body: error_body(&error, None, None).into(),
    })
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
