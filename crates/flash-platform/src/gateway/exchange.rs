//! The platform's side of the exchange: one task per Flash worker.
use std::{
    collections::HashMap,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use axum::{
    extract::{Request, State},
    response::{IntoResponse as _, Response},
};
use flash_protocol::{
    Error, ErrorKind,
    wire::{
        Payload,
        exchange::{
            self, ATTACHMENTS_HEADER, BatchFrame, BatchedJob, CallFrame, ChunksReadFrame, DoneFrame,
            FrameFormat, GeneratedFrame, PROTOCOL, ParkedFrame, READS_SHORT, REPORTS_HEADER, ReadyFrame,
            ReplyFrame, ReplyResult, SENDS_KEY_HEADER, TAKES_METRICS, ToPlatform, ToWorker, Writer,
        },
    },
};
use flash_text::Truncated;
use http::{HeaderName, HeaderValue, StatusCode, header};
use hyper_util::rt::TokioIo;

use tokio::sync::oneshot;
use tokio_util::task::TaskTracker;

use super::{
    error::Refusal,
    extract::Segments,
    nesting,
    state::GatewayState,
    streamed_call::{Delivery, Window},
    worker_key::admit,
};
use crate::{
    balancer::{Answered, Exchange},
    large_input::work_on,
    pool::{Pool, Pulse},
    queue::{DeliveryMode, JobId, Origin, Outcome, Reported, Submission, Waiter},
    releases::Releases,
    worker_id::WorkerId,
};

/// Number of running calls of a worker before finished ones are removed from its list.
const SWEEP_AT: usize = 1024;

pub(super) async fn open(
    State(state): State<Arc<GatewayState>>,
    Segments((endpoint, worker)): Segments<(String, String)>,
    mut request: Request,
) -> Result<Response, Refusal> {
    let worker = WorkerId::from(worker);
    let pool = admit(&state.releases, &endpoint, &worker, request.headers())?;
    if request.headers().get(header::UPGRADE).is_none_or(|protocol| protocol != PROTOCOL) {
        return Err(Refusal::bad_request(format!("expected `Upgrade: {PROTOCOL}`")));
    }
    let key = uuid::Uuid::new_v4().simple().to_string();
    let mut key = HeaderValue::try_from(key).expect("the digits of a UUID are visible ASCII");
    key.set_sensitive(true);
    let sent_key = key.clone();
    let format = FrameFormat::of_header(request.headers().get(ATTACHMENTS_HEADER).map(HeaderValue::as_bytes));
    let upgraded = hyper::upgrade::on(&mut request);
    let (releases, tasks) = (state.releases.clone(), state.tasks.clone());
    state.tasks.spawn(async move {
        let Ok(upgraded) = upgraded.await else { return };
        let (frames, queued) = exchange::queue(format);
        let Some(pulse) = pool.pulse(&worker) else { return };
        let (requests, calls) = (Exchange::new(frames.clone(), key), HashMap::new());
        let mut session = Session { releases, pool, worker, pulse, frames, requests, calls, tasks };
        // Flash workers ping, but one may become silent before its first ping.
        session.pulse.pings();
        // An overlong or malformed frame ends the connection like its loss does.
        let handle = |frame| session.handle(frame);
        let _ = exchange::serve_decoding(TokioIo::new(upgraded), queued, decode_beside, handle).await;
        session.lost();
    });
    let headers = [
        (header::CONNECTION, HeaderValue::from_static("upgrade")),
        (header::UPGRADE, HeaderValue::from_static(PROTOCOL)),
        (HeaderName::from_static(ATTACHMENTS_HEADER), HeaderValue::from_static(READS_SHORT)),
        (HeaderName::from_static(REPORTS_HEADER), HeaderValue::from_static(TAKES_METRICS)),
        (HeaderName::from_static(SENDS_KEY_HEADER), sent_key),
    ];
    Ok((StatusCode::SWITCHING_PROTOCOLS, headers).into_response())
}

/// Decodes a frame of megabytes while the other tasks of this thread go on.
fn decode_beside(bytes: usize, decode: &mut dyn FnMut()) {
    work_on(bytes, decode);
}

struct Session {
    releases: Arc<Releases>,
    pool: Arc<Pool>,
    worker: WorkerId,
    pulse: Arc<Pulse>,
    frames: Writer<ToWorker>,
    /// Requests that the worker has as frames.
    requests: Exchange,
    /// Jobs for calls, which are cancelled when the caller gives up.
    calls: HashMap<u64, RunningCall>,
    tasks: TaskTracker,
}

/// A job that a worker waits for.
struct RunningCall {
    pool: Arc<Pool>,
    job: JobId,
    /// If the worker reads its chunks as they come.
    window: Option<Window>,
}

impl RunningCall {
    /// Whether the worker still waits for it.
    fn is_awaited(&self) -> bool {
        match &self.window {
            Some(window) => !window.is_over(),
            None => {
                let job = self.pool.queue().and_then(|queue| queue.peek(self.job));
                job.is_some_and(|job| !job.status.is_final())
            }
        }
    }

    /// Nobody waits any more.
    fn cancel(self) {
        if let Some(queue) = self.pool.queue() {
            // It may have ended.
            let _ = queue.cancel(self.job);
        }
    }
}

/// Whether an address is not that of another pod: this one's own, or one that a node answers.
fn is_own_or_special(host: IpAddr) -> bool {
    let is_link_local = match host {
        IpAddr::V4(host) => host.is_link_local(),
        IpAddr::V6(host) => host.is_unicast_link_local(),
    };
    host.is_loopback() || host.is_unspecified() || host.is_multicast() || is_link_local
}

impl Session {
    /// The connection has ended.
    fn lost(self) {
        self.requests.ended();
        // Most have ended long ago.
        self.calls.into_values().for_each(RunningCall::cancel);
        self.pool.lost_connection(&self.worker);
    }

    fn handle(&mut self, frame: ToPlatform) {
        self.pulse.heard();
        match frame {
            ToPlatform::Ready(ReadyFrame { max_concurrency, http_port: None, weighs_batches, .. }) => {
                let frames = self.frames.clone();
                let mode = match weighs_batches {
                    true => DeliveryMode::WeighingExchange(frames),
                    false => DeliveryMode::Exchange(frames),
                };
                self.pool.ready_for_jobs(&self.worker, mode, max_concurrency);
            }
            ToPlatform::Ready(ReadyFrame {
                max_concurrency,
                http_port: Some(port),
                http_host,
                releases_slots,
                ..
            }) => {
                let host = http_host.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
                if self.pool.is_in_cluster() && is_own_or_special(host) {
                    // What listens there is the platform's own, and would be asked in the place of the worker.
                    self.pool.replace_unhealthy(&self.worker, &format!("it says that it listens on {host}"));
                    return;
                }
                let address = SocketAddr::from((host, port));
                let exchange = releases_slots.then(|| self.requests.clone());
                self.pool.ready_for_requests(&self.worker, address, max_concurrency, exchange);
            }
            ToPlatform::Done(done) => self.done(done),
            ToPlatform::Chunk(frame) => {
                if let Some((queue, job)) = self.pool.queue().zip(JobId::parse(&frame.id)) {
                    if nesting::is_too_deep(frame.output.text()) {
                        let failed = nesting::failure("chunk", &self.worker);
                        // Ignored if another attempt has taken over.
                        let _ = queue.finish(&self.worker, job, Some(frame.attempt), failed, None);
                        return;
                    }
                    queue.chunk(&self.worker, job, frame.output);
                }
            }
            ToPlatform::Progress(frame) => {
                // Progress is best effort: invalid progress is ignored.
                if let Some((queue, job)) = self.pool.queue().zip(JobId::parse(&frame.id))
                    && !nesting::is_too_deep(frame.output.text())
                {
                    queue.progress(&self.worker, job, frame.output.into_json());
                }
            }
            ToPlatform::Answer(answer) => self.requests.answered(answer.slot, Answered::Whole(answer)),
            ToPlatform::Parked(ParkedFrame { slot, path }) => {
                self.requests.answered(slot, Answered::Parked(path));
            }
            ToPlatform::NotTaken(slot) => self.requests.answered(slot, Answered::NotTaken),
            ToPlatform::Released(slot) => self.pool.released(&self.worker, slot),
            ToPlatform::Unhealthy(frame) => self.pool.replace_unhealthy(&self.worker, &frame.reason),
            ToPlatform::Batch(frame) => self.batch(frame),
            ToPlatform::Generated(GeneratedFrame { slot, models }) => {
                self.pool.generated(&self.worker, slot, models);
            }
            ToPlatform::Models(loads) => self.pool.models_have(&self.worker, loads),
            ToPlatform::Loading(text) => self.pool.is_loading(&self.worker, &text),
            ToPlatform::Measured(series) => self.pool.measured(&self.worker, series),
            ToPlatform::Call(call) => self.call(call),
            ToPlatform::Abandon(call) => {
                if let Some(running) = self.calls.remove(&call) {
                    running.cancel();
                }
            }
            ToPlatform::ChunksRead(ChunksReadFrame { call, share }) => {
                let running = self.calls.get(&call);
                if let Some(window) = running.and_then(|running| running.window.as_ref()) {
                    window.read(share);
                }
            }
        }
    }

    fn batch(&self, frame: BatchFrame) {
        let Some(queue) = self.pool.queue() else { return };
        let known =
            |BatchedJob { id, attempt, cost }: BatchedJob| Some(((JobId::parse(&id)?, attempt), cost));
        queue.weigh(&self.worker, &frame.jobs.into_iter().filter_map(known).collect());
    }

    fn done(&mut self, done: DoneFrame) {
        let DoneFrame { id, attempt, output, error, ran_us, batch, generated } = done;
        let Some((queue, job)) = self.pool.queue().zip(JobId::parse(&id)) else { return };
        if let Some(batch) = batch {
            queue.ran_in_batch(&self.worker, job, attempt, batch);
        }
        if !generated.is_empty() {
            self.pool.tally().generated(&generated);
            queue.generated(&self.worker, job, attempt, generated);
        }
        // Everything that was printed before the result was sent is in the pipe: it belongs to this job.
        self.pool.work_ends(&self.worker);
        let outcome = match error {
            Some(text) => Outcome::Failed(text),
            None if output.as_ref().is_some_and(|output| nesting::is_too_deep(output.text())) => {
                nesting::failure("result", &self.worker)
            }
            None => Outcome::Completed(output.unwrap_or_else(Payload::null)),
        };
        let ran = Some(Duration::from_micros(ran_us));
        match queue.finish(&self.worker, job, Some(attempt), outcome, ran) {
            Reported::Accepted => self.pool.served(&self.pulse),
            Reported::Released => {}
            Reported::Late => self.pool.say_late(&self.worker, job, Some(attempt)),
        }
        self.pool.job_ended(&self.worker);
    }

    /// A call to another worker type of the same release. Answered when its job ends.
    fn call(&mut self, frame: CallFrame) {
        let call = frame.call;
        match self.submit(frame) {
            Ok(running) => {
                self.calls.insert(call, running);
                if self.calls.len() >= SWEEP_AT {
                    self.calls.retain(|_, running| running.is_awaited());
                }
            }
            Err(error) => {
                self.frames.send(ToWorker::Reply(ReplyFrame {
                    call,
                    result: ReplyResult::Refused(error.into_wire()),
                    attached: None,
                }));
            }
        }
    }

    fn submit(&self, frame: CallFrame) -> flash_protocol::Result<RunningCall> {
        let CallFrame { call, worker, envelope, input, policy, window, attached_chunks } = frame;
        policy.check().map_err(|wrong| Error::invalid_fields(vec![wrong]))?;
        if nesting::is_too_deep(input.text()) {
            return Err(Error::new(ErrorKind::InvalidInput, nesting::unreadable("input")));
        }
        // Calls of a worker stay in its release while another goes live.
        let release = self.releases.with_pool(&self.pool);
        let release = release.ok_or_else(|| Error::new(ErrorKind::NoWorker, "the release has ended"))?;
        let not_found = || {
            Error::new(
                ErrorKind::NotFound,
                format!("no queue-based worker type named `{}`", Truncated(&worker)),
            )
        };
        let pool = release.pool(&worker).ok_or_else(not_found)?;
        let queue = pool.queue().ok_or_else(not_found)?;
        let submit = |waiter| {
            let submission = Submission {
                execution_timeout: policy.execution_timeout.map(Duration::from_millis),
                ttl: policy.ttl.map(Duration::from_millis),
                low_priority: policy.low_priority,
                waiter: Some(waiter),
                ..Submission::new(Origin::Call, input, envelope)
            };
            let submitted = queue.submit(submission);
            submitted
                .map_err(|full| Error::new(ErrorKind::Refused, format!("worker type `{worker}`: {full}")))
        };
        let frames = self.frames.clone();
        let Some(size) = window else {
            let job = submit(Waiter::Call { call, frames })?.id;
            return Ok(RunningCall { pool: pool.clone(), job, window: None });
        };
        let (ends, end) = oneshot::channel();
        let reads_attachments = attached_chunks && frames.format().has_attachments();
        let job = submit(Waiter::Stream { end: ends, reads_attachments })?.id;
        let (delivery, window) = Delivery::new(call, frames, size);
        self.tasks.spawn(delivery.run(queue.clone(), job, end));
        Ok(RunningCall { pool: pool.clone(), job, window: Some(window) })
    }
}
