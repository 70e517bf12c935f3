//! Sends a request to a worker: as a frame on the exchange that is open anyway, or over HTTP to its port.
//!
//! A frame is short both ways, as far as known. What is not goes over HTTP, where each side can make the other one wait. Which
//! worker gets a request, and what becomes of its answer, is decided elsewhere.
use std::{
    sync::{
        Arc, LazyLock,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::body::Body;
use bytes::Bytes;
use flash_protocol::wire::exchange::{Fields, MAX_BODY_BYTES, MAX_FIELDS, RequestFrame, WORKER_KEY_HEADER};
use http::{
    Uri,
    request::Parts,
    uri::{PathAndQuery, Scheme},
};
use http_body_util::BodyExt as _;
use hyper::body::Body as _;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use tokio::sync::Notify;

use super::{
    super::error::Refusal,
    body::{Lent, Upload, UploadState},
    failure::Failure,
    limits::MAX_INTERIM,
    worker_answer::{AnswerBody, response_of},
};
use crate::balancer::{Answered, Exchange, Slot};

/// A worker's port is on this machine: it answers at once or not at all.
const CONNECT_LIMIT: Duration = Duration::from_secs(2);
/// Less than the 5 s after which common servers close idle connections; using a connection at that moment would fail
/// the request.
const IDLE_CONNECTION: Duration = Duration::from_secs(4);

static CLIENT: LazyLock<Client<HttpConnector, Lent>> = LazyLock::new(|| {
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    connector.set_connect_timeout(Some(CONNECT_LIMIT));
    Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(IDLE_CONNECTION)
        .pool_max_idle_per_host(256)
        .build(connector)
});

/// Header fields that the platform may add to those of the client.
const OWN_FIELDS: usize = 20;

/// A request on its way to a worker, or to another one if the first sees nothing of it.
pub(super) struct Outgoing {
    target: PathAndQuery,
    upload: Upload,
    /// All of the body, once it was read for a frame.
    read: Option<Bytes>,
    fits_frame: bool,
}

impl Outgoing {
    /// A request to this path, with the query of `head`. `is_short` says that it may be a frame if its body is short.
    ///
    /// # Errors
    /// 400 for a path that is none.
    pub(super) fn new(head: &Parts, path: &str, upload: Upload, is_short: bool) -> Result<Self, Refusal> {
        let target = match head.uri.query() {
            Some(query) => format!("{path}?{query}"),
            None => path.to_owned(),
        };
        let target = target
            .parse()
            .map_err(|error| Refusal::bad_request(format!("the path is not valid: {error}")))?;
        let longest = upload.lend().size_hint().upper();
        let fits_frame = is_short
            && head.headers.len() < MAX_FIELDS - OWN_FIELDS
            && longest.is_some_and(|longest| longest <= MAX_BODY_BYTES as u64);
        Ok(Self { target, upload, read: None, fits_frame })
    }

    /// How far its body has come.
    pub(super) fn upload(&self) -> UploadState {
        self.upload.state()
    }

    /// Sends it with this head, whose path does not matter, to the worker of this slot.
    pub(super) async fn send(
        &mut self,
        head: Parts,
        slot: &Slot,
    ) -> Result<http::Response<AnswerBody>, Failure> {
        match slot.exchange().filter(|_| self.fits_frame) {
            Some(exchange) => self.send_framed(head, slot, exchange).await,
            None => {
                let body = match &self.read {
                    Some(read) => whole(read.clone()),
                    None => self.upload.lend(),
                };
                send(over_http(head, slot, self.target.clone(), body)?).await
            }
        }
    }

    async fn send_framed(
        &mut self,
        head: Parts,
        slot: &Slot,
        exchange: &Exchange,
    ) -> Result<http::Response<AnswerBody>, Failure> {
        let body = match &self.read {
            Some(read) => read.clone(),
            None => {
                let body = self.upload.lend().collect().await;
                let body = body.map_err(|broken| Failure::BrokeOff(broken.to_string()))?;
                self.read.insert(body.to_bytes()).clone()
            }
        };
        let request = RequestFrame {
            slot: slot.number(),
            method: head.method.as_str().to_owned(),
            target: self.target.as_str().to_owned(),
            headers: Fields::of(&head.headers),
            body,
        };
        let sent = exchange.send(request).ok_or(Failure::Unsent)?;
        match sent.answer().await {
            Some(Answered::Whole(answer)) => response_of(answer)
                .ok_or_else(|| Failure::BrokeOff("it answered with what is no answer".to_owned())),
            Some(Answered::Parked(path)) => send(parked(slot, &path)?).await,
            Some(Answered::NotTaken) => Err(Failure::Unsent),
            None => Err(Failure::BrokeOff("its exchange has ended".to_owned())),
        }
    }
}

/// A body that is here.
fn whole(bytes: Bytes) -> Lent {
    let limit = bytes.len();
    Upload::new(Body::from(bytes), limit, None).lend()
}

/// Asks for an answer that a worker keeps at this path.
fn parked(slot: &Slot, path: &str) -> Result<http::Request<Lent>, Failure> {
    let path = path.parse().map_err(|_| Failure::BrokeOff("it named no path of its answer".to_owned()))?;
    let (head, ()) = http::Request::new(()).into_parts();
    over_http(head, slot, path, whole(Bytes::new()))
}

/// A request to the port of the slot's worker.
fn over_http(
    mut head: Parts,
    slot: &Slot,
    target: PathAndQuery,
    body: Lent,
) -> Result<http::Request<Lent>, Failure> {
    if let Some(key) = slot.worker_key() {
        head.headers.insert(WORKER_KEY_HEADER, key.clone());
    }
    let address = slot.address.to_string();
    let uri = Uri::builder().scheme(Scheme::HTTP).authority(address).path_and_query(target);
    // A path that does not begin with a slash has no place behind an address.
    head.uri = uri.build().map_err(|error| Failure::BrokeOff(error.to_string()))?;
    Ok(http::Request::from_parts(head, body))
}

/// Sends a request; gives up after too many interim responses.
async fn send(mut request: http::Request<Lent>) -> Result<http::Response<AnswerBody>, Failure> {
    let (endless, seen) = (Arc::new(Notify::new()), AtomicUsize::new(0));
    let exceeded = endless.clone();
    hyper::ext::on_informational(&mut request, move |_| {
        if seen.fetch_add(1, Ordering::Relaxed) == MAX_INTERIM {
            exceeded.notify_one();
        }
    });
    tokio::select! {
        answered = CLIENT.request(request) => match answered {
            Ok(response) => Ok(response.map(AnswerBody::Http)),
            Err(error) => Err(Failure::from(error)),
        },
        () = endless.notified() => Err(Failure::Endless),
    }
}
