//! Forwards one request to a worker, and the answer back.
use std::{net::IpAddr, sync::Arc, time::Duration};

use axum::{body::Body, extract::Request, response::Response};
use flash_protocol::{
    GenerationsByModel,
    wire::{
        Nesting,
        exchange::{GENERATED_HEADER, HELD_HEADER, SLOT_HEADER, WORKER_KEY_HEADER},
    },
};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header, request::Parts};
use tokio::{
    sync::oneshot,
    time::{Instant, timeout_at},
};

use super::{
    super::{
        body::broken,
        error::{Refusal, WORKER_ID},
        extract::client_address,
        nesting,
        request_id::REQUEST_ID,
    },
    affinity,
    body::{Answer, Bounds, Cut, End, TimeLimit, Upload, UploadState},
    failure::Failure,
    forwarded,
    outgoing::Outgoing,
    request_line::RequestLine,
    upgrade::{self, Wanted},
    worker_answer::AnswerBody,
};
use crate::{
    balancer::{Balancer, Slot},
    pool::{Pool, WorkSource},
    release::Release,
    tally::Ending,
    traces::TRACEPARENT,
};

/// How many workers a request may be tried on, as long as none has seen any of it.
const CONNECT_ATTEMPTS: usize = 4;

/// How long the line of a request waits for the worker's word about its models.
const LATE_WORD: Duration = Duration::from_secs(1);

/// Headers that belong to one connection and not to the message.
const HOP_BY_HOP: [HeaderName; 9] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// A function that answers a request.
#[derive(Debug, Clone, Copy)]
pub(in super::super) struct Callee<'a> {
    /// As in `flash call`.
    pub name: &'a str,
    /// Whether it takes the body as it is. Otherwise the body is JSON, which is checked on its way.
    pub takes_raw_body: bool,
    /// Whether its answer is a stream.
    pub streams: bool,
}

/// Sends a request to a worker of this type, as [`forward`].
///
/// # Errors
/// As [`forward`], and 404 for a worker type that takes no requests.
pub(in super::super) async fn to_worker_type(
    release: &Release,
    worker_type: &str,
    callee: Option<Callee<'_>>,
    id: &str,
    path: &str,
    request: Request,
) -> Result<Response, Refusal> {
    match release.pool(worker_type).map(|pool| (pool, &pool.source)) {
        Some((pool, WorkSource::Balanced(balancer))) => {
            forward(pool, balancer, callee, id, path, request).await
        }
        _ => Err(Refusal::not_found(format!("`{worker_type}` has no routes"))),
    }
}

/// Sends a request to the requested or the least loaded worker, and streams the answer back. Errors contain
/// the stage. Dropping the future frees the slot and closes the worker's connection. `callee` is `None` for a program's own paths.
///
/// # Errors
/// 413 for a body over the limit, 503 without a worker, 400 and 404 for a requested worker that is not available, 502
/// for a worker that fails, 504 for a late one.
async fn forward(
    pool: &Arc<Pool>,
    balancer: &Arc<Balancer>,
    callee: Option<Callee<'_>>,
    request_id: &str,
    path: &str,
    request: Request,
) -> Result<Response, Refusal> {
    let route = Route { pool, balancer, request_id, path, callee };
    let mut line = Some(RequestLine::new(pool, request_id, callee.map(|callee| callee.name), &request));
    route.take(request, &mut line).await.map_err(|refusal| {
        if let Some(line) = &mut line {
            line.status = Some(refusal.status());
        }
        let worker_type = &pool.worker_type.name;
        refusal.at_stage(match callee {
            Some(Callee { name, .. }) => format!("{worker_type}/{name}"),
            None => worker_type.clone(),
        })
    })
}

/// Where a request goes.
struct Route<'a> {
    pool: &'a Arc<Pool>,
    balancer: &'a Arc<Balancer>,
    request_id: &'a str,
    path: &'a str,
    callee: Option<Callee<'a>>,
}

impl Route<'_> {
    /// Whether the worker decodes the body as JSON.
    fn reads_json(&self, headers: &HeaderMap) -> bool {
        self.callee.is_some_and(|callee| !callee.takes_raw_body) && may_be_json(headers)
    }

    /// `line` is taken when a worker answers.
    async fn take(&self, mut request: Request, line: &mut Option<RequestLine>) -> Result<Response, Refusal> {
        let max_bytes = self.pool.worker_type.max_body_bytes();
        let declared = request
            .headers()
            .get(header::CONTENT_LENGTH)
            .and_then(|length| length.to_str().ok()?.parse().ok());
        if declared.is_some_and(|length: usize| length > max_bytes) {
            return Err(Refusal::too_large(max_bytes));
        }
        let arrived = Instant::now();
        let (choice, limit) = affinity::choice(self.pool, request.headers()).await?;
        let wanted = Wanted::of(&mut request);
        let is_head = request.method() == http::Method::HEAD;
        let client = client_address(&request);
        let (mut head, body) = request.into_parts();
        // Extensions contain data of the client's connection, such as its upgrade.
        head.extensions.clear();
        if let Some(value) = line.as_ref().and_then(|line| line.span.as_ref()?.header()) {
            head.headers.insert(TRACEPARENT, value);
        }
        let nesting = self.reads_json(&head.headers).then(Nesting::default);
        let is_short = wanted.is_none() && !is_head && self.callee.is_some_and(|callee| !callee.streams);
        let mut outgoing = Outgoing::new(&head, self.path, Upload::new(body, max_bytes, nesting), is_short)?;
        let mut attempt = 1;
        loop {
            let slot = self.balancer.acquire(&choice, limit, self.request_id).await;
            let mut slot =
                slot.map_err(|none| affinity::no_worker(&none, &choice, &self.pool.worker_type.name))?;
            slot.waited(arrived.elapsed());
            slot.cost_share.set_function(self.callee.map(|callee| callee.name));
            if let Some(line) = line {
                line.worker = Some(slot.worker.clone());
                line.waited(arrived.elapsed());
            }
            // Also if the client disconnects meanwhile.
            slot.ends(Some(Ending::Cancelled));
            let since = Instant::now();
            let head = self.rewritten(&head, client, &slot, wanted.as_ref());
            slot.sent();
            let sending = outgoing.send(head, &slot);
            let failure = match timeout_at(since + self.pool.worker_type.request_timeout(), sending).await {
                Ok(Ok(response)) => {
                    let (pool, request_id, line) = (self.pool.clone(), self.request_id.into(), line.take());
                    let is_held = response.headers().contains_key(HELD_HEADER);
                    let mut serving = Serving { pool, line, slot, request_id, is_held, generated: None };
                    if response.headers().contains_key(GENERATED_HEADER) {
                        serving.generated = serving.slot.generated();
                    }
                    return answered(response, serving, wanted, since, is_head).await;
                }
                Ok(Err(failure)) => failure,
                Err(_) => Failure::Late,
            };
            match (outgoing.upload(), &failure) {
                (UploadState::TooLarge, _) => return Err(Refusal::too_large(max_bytes)),
                (UploadState::TooDeep, _) => return Err(nesting::too_deep()),
                (UploadState::Broken(cause), _) => return Err(broken(&*cause)),
                // The worker has seen nothing of it, so another one may have it.
                (UploadState::Untouched, Failure::Connect { .. }) | (_, Failure::Unsent)
                    if attempt < CONNECT_ATTEMPTS =>
                {
                    if !matches!(failure, Failure::Connect { refused: false, .. }) {
                        self.pool.stopped_listening(&slot.worker);
                    }
                    attempt += 1;
                    slot.unsent();
                    slot.ends(None);
                }
                _ => {
                    let refusal = failure.refusal(self.pool, &slot.worker).await;
                    slot.ends(Some(Ending::Failed));
                    slot.cost_share.record_problem(refusal.message());
                    return Err(refusal);
                }
            }
        }
    }

    /// The head as the worker gets it, but for the path.
    fn rewritten(&self, head: &Parts, client: IpAddr, slot: &Slot, wanted: Option<&Wanted>) -> Parts {
        let mut head = head.clone();
        head.version = http::Version::HTTP_11;
        strip(&mut head.headers);
        forwarded::announce(&mut head.headers, client);
        // The platform itself answers `100 Continue`.
        head.headers.remove(header::EXPECT);
        // Those of a client say nothing.
        head.headers.remove(SLOT_HEADER);
        head.headers.remove(WORKER_KEY_HEADER);
        if let Some(name) = slot.name() {
            head.headers.insert(SLOT_HEADER, HeaderValue::from(name));
        }
        if let Some(wanted) = wanted {
            wanted.announce(&mut head.headers);
        }
        if let Ok(value) = HeaderValue::from_str(self.request_id) {
            head.headers.insert(REQUEST_ID, value);
        }
        head
    }
}

/// Whether a function would read the body as JSON, by its content type.
fn may_be_json(headers: &HeaderMap) -> bool {
    headers.get(header::CONTENT_TYPE).is_none_or(|kind| {
        let kind = kind.to_str().unwrap_or_default().to_ascii_lowercase();
        kind.contains("json") || kind.contains("x-www-form-urlencoded")
    })
}

/// Why the end of an answer is not defined or ambiguous. If there is a coding and a length, the HTTP library uses the
/// coding; a client behind other servers may use the length.
fn unframed(headers: &HeaderMap) -> Option<&'static str> {
    let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
    let coding = codings.next()?;
    if codings.next().is_some() || !coding.as_bytes().eq_ignore_ascii_case(b"chunked") {
        return Some("a transfer coding other than `chunked`");
    }
    headers.contains_key(header::CONTENT_LENGTH).then_some("both a length and a transfer coding")
}

/// Removes connection-specific headers: the known ones, and those listed in `Connection`, which cannot list headers
/// that every message needs.
fn strip(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .filter(|name| *name != header::HOST && *name != header::CONTENT_LENGTH)
        .collect();
    for name in named.iter().chain(&HOP_BY_HOP) {
        headers.remove(name);
    }
}

/// The answer for the client, which holds the slot until its last byte.
async fn answered(
    mut response: http::Response<AnswerBody>,
    mut serving: Serving,
    wanted: Option<Wanted>,
    since: Instant,
    is_head: bool,
) -> Result<Response, Refusal> {
    let worker = serving.slot.worker.clone();
    let status = response.status();
    serving.ends_with(status);
    serving.slot.cost_share.record_answer(status.as_u16());
    if status.is_server_error() {
        serving.slot.ends(Some(Ending::Failed));
        serving.slot.cost_share.record_problem(&format!("answered {status}"));
    } else {
        serving.slot.ends(Some(Ending::Completed));
    }
    // For the header; the rest is known when the answer has ended.
    response.extensions_mut().insert(serving.slot.cost_share.so_far());
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        let Some(wanted) = wanted else {
            return Err(serving.failed(Failure::Unasked).await);
        };
        let protocol = response.headers().get(header::UPGRADE).cloned();
        strip(response.headers_mut());
        let limit = serving.pool.worker_type.request_timeout();
        let connection = wanted.accepted(&mut response, protocol, limit);
        name_worker(response.headers_mut(), &worker);
        serving.pool.clone().carry(async move {
            if connection.await == upgrade::End::Silent {
                serving.was_silent(limit);
            }
            drop(serving);
        });
        return Ok(response.map(|_| Body::empty()));
    }
    if let Some(why) = unframed(response.headers()) {
        drop(response);
        return Err(serving.failed(Failure::Unframed(why)).await);
    }
    if let Some(length) = response.headers().get(header::CONTENT_LENGTH).cloned() {
        // Once, also where it came twice: the library has seen that they are the same.
        response.headers_mut().insert(header::CONTENT_LENGTH, length);
    }
    let declared = response.headers().get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok());
    let declared = declared.and_then(|length| length.parse().ok()).filter(|_| !is_head);
    let max_bytes = serving.pool.worker_type.max_body_bytes();
    if let Some(declared) = declared.filter(|declared: &u64| *declared > max_bytes as u64) {
        // Its connection closes before the slot is free.
        drop(response);
        return Err(serving.failed(Failure::TooLarge { declared }).await);
    }
    strip(response.headers_mut());
    response.headers_mut().remove(HELD_HEADER);
    response.headers_mut().remove(GENERATED_HEADER);
    name_worker(response.headers_mut(), &worker);
    let limit = serving.pool.worker_type.request_timeout();
    // Without a length it is a stream, whose end nobody knows.
    let time = match response.headers().contains_key(header::CONTENT_LENGTH) {
        true => TimeLimit::Total { limit, since },
        false => TimeLimit::Idle { limit },
    };
    let bounds = Bounds { bytes: max_bytes, time };
    let keep = move |end| {
        serving.ended(&end);
        if end == End::Whole {
            serving.end_with_its_models();
        }
    };
    Ok(response.map(|body| Body::new(Answer::new(body, bounds, keep))))
}

fn name_worker(headers: &mut HeaderMap, worker: &str) {
    if let Ok(worker) = HeaderValue::from_str(worker) {
        headers.insert(WORKER_ID, worker);
    }
}

/// A request that a worker serves.
struct Serving {
    pool: Arc<Pool>,
    /// Written before the slot goes to another request.
    line: Option<RequestLine>,
    slot: Slot,
    request_id: String,
    /// Whether a thread of it still runs after its answer.
    is_held: bool,
    /// What models did for it, which the worker says when it has ended.
    generated: Option<oneshot::Receiver<GenerationsByModel>>,
}

impl Serving {
    fn ends_with(&mut self, status: StatusCode) {
        if let Some(line) = &mut self.line {
            line.status = Some(status);
        }
    }

    fn ended(&mut self, end: &End) {
        match end {
            End::Whole if self.is_held => {}
            End::Whole => self.slot.over(),
            End::Cut(cut) => self.cut_off(cut),
        }
    }

    /// Ends when the worker has said what its models did, which it does at the end of the answer, on another connection.
    fn end_with_its_models(mut self) {
        let Some(generated) = self.generated.take() else { return };
        self.pool.clone().carry(async move {
            if let Ok(Ok(models)) = tokio::time::timeout(LATE_WORD, generated).await
                && let Some(line) = &mut self.line
            {
                line.models = models;
            }
            drop(self);
        });
    }

    /// The answer to the client after a failure.
    async fn failed(&mut self, failure: Failure) -> Refusal {
        let refusal = failure.refusal(&self.pool, &self.slot.worker).await;
        self.ends_with(refusal.status());
        self.slot.ends(Some(Ending::Failed));
        self.slot.cost_share.record_problem(refusal.message());
        refusal
    }

    /// An upgraded connection was closed, because nothing came from either side.
    fn was_silent(&mut self, limit: Duration) {
        let text =
            format!("the connection was closed: nothing came from either side for {} s", limit.as_secs());
        self.pool.say_of_request(Some(&self.slot.worker), &self.request_id, text);
    }

    fn cut_off(&mut self, cut: &Cut) {
        let text = format!("the answer was cut off: {cut}");
        self.slot.ends(Some(Ending::Failed));
        self.slot.cost_share.record_problem(&text);
        self.pool.say_of_request(Some(&self.slot.worker), &self.request_id, text);
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        // Output before the end of the answer belongs to this request, so the slot is released after it.
        self.pool.work_ends(&self.slot.worker);
        if let Some(line) = &mut self.line {
            line.cost = self.slot.cost_share.so_far().amount;
        }
        if let Some(pulse) = self.pool.pulse(&self.slot.worker) {
            self.pool.served(&pulse);
        }
    }
}
