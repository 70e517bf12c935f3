//! Requests for the router that the app's `http` function made.
//!
//! The router gets each request as the client sent it. Its handlers, and the body of their answer, run within the
//! request's call, so that calls to other functions carry its request ID, deadline and trace. A stream or an upgraded
//! connection may outlive the execution timeout; the time to the head of the answer is limited by it.
use std::{
    pin::Pin,
    sync::Arc,
    task::{Context as TaskContext, Poll, ready},
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::{Request, State},
    response::Response,
};
use flash_protocol::{Error, ErrorKind, WireError};
use futures_util::future::BoxFuture;
use http::{HeaderMap, StatusCode, header};
use hyper::{
    body::{Body as _, Frame, SizeHint},
    service::Service as _,
};
use hyper_util::service::TowerToHyperService;
use tokio_util::sync::DropGuard;

use super::{Refused, Serving, Shared};
use crate::{context::Context, panic, worker::requests::Running};

/// Answers a request that is for none of the worker's routes.
pub(super) async fn serve(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    shared.until_ready().await;
    let limit = (!is_upgrade(request.headers())).then_some(shared.execution_timeout);
    let mut call = Serving::begin(&shared, request.headers(), None, limit);
    let answer = match owner(&shared, request.uri().path()) {
        Some(router) => answer(router, &mut call, request).await,
        None => Err(Refused {
            status: StatusCode::NOT_FOUND,
            error: Box::new(WireError::new(
                ErrorKind::NotFound,
                format!("no route at {}", flash_protocol::cut(request.uri().path().to_owned())),
            )),
        }),
    };
    call.end(answer)
}

/// The router, if the path is one of its own. A platform sends it no others; a provider may.
fn owner(shared: &Shared, path: &str) -> Option<Router> {
    let http = shared.functions.worker_type().http.as_ref()?;
    shared.functions.router().filter(|_| http.owns(path)).cloned()
}

fn is_upgrade(headers: &HeaderMap) -> bool {
    headers.contains_key(header::UPGRADE)
}

async fn answer(router: Router, call: &mut Serving, request: Request) -> Result<Response, Refused> {
    let context = call.context.clone();
    let running = TowerToHyperService::new(router).call(request);
    let running = context.clone().scope(panic::catch_async(running));
    let outcome = match context.deadline() {
        Some(deadline) => tokio::time::timeout_at(deadline.into(), running).await.map_err(|_| {
            Error::new(ErrorKind::Timeout, "the handler did not answer before its time limit".to_owned())
        })?,
        None => running.await,
    };
    let Ok(response) = outcome?;
    // A body that is in memory needs nothing more.
    if response.body().size_hint().exact().is_some() {
        return Ok(response);
    }
    Ok(response.map(|body| Body::new(Streaming::new(body, call))))
}

/// The body of an answer that is still being produced. It runs within the call, which is cancelled if the body is
/// dropped before its end.
struct Streaming {
    body: Body,
    context: Context,
    cancel: Option<DropGuard>,
    running: Option<Running>,
    /// Waits for threads that still run: the answer holds its slot until then.
    ending: Option<BoxFuture<'static, ()>>,
}

impl Streaming {
    fn new(body: Body, call: &mut Serving) -> Self {
        let context = call.context.without_own_deadline(call.callers_deadline);
        Self { body, context, cancel: call.cancel.take(), running: call.running.take(), ending: None }
    }

    /// Every part of the body has been produced.
    fn end(&mut self) {
        if let Some(cancel) = self.cancel.take() {
            cancel.disarm();
        }
        self.ending = self.running.take().map(|running| Box::pin(running.ended()) as BoxFuture<'static, ()>);
    }
}

impl hyper::body::Body for Streaming {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut TaskContext<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = &mut *self;
        if this.cancel.is_some() || this.running.is_some() {
            let body = Pin::new(&mut this.body);
            let frame = ready!(this.context.clone().sync_scope(|| body.poll_frame(cx)));
            if frame.is_some() {
                return Poll::Ready(frame);
            }
            this.end();
        }
        if let Some(ending) = &mut this.ending {
            ready!(ending.as_mut().poll(cx));
            this.ending = None;
        }
        Poll::Ready(None)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Streaming {
    fn drop(&mut self) {
        // A body of known length is not polled after its last byte.
        if self.body.is_end_stream() {
            self.end();
        }
    }
}
