//! Runs work over the exchange of the Flash platform: jobs, results, calls and replies on one connection.
//!
//! When the connection ends, the worker ends, and the platform puts its jobs back into the queue.
use std::{collections::HashMap, io, net::IpAddr, sync::Arc, time::Duration};

use flash_protocol::{
    Error, ErrorKind,
    wire::{
        Payload,
        exchange::{
            self, ATTACHMENTS_HEADER, BatchFrame, DoneFrame, EndedBy, FrameFormat, JobFrame,
            MAX_RESULT_BYTES, OutputFrame, PROTOCOL, Queued, READS_SHORT, REPORTS_HEADER, ReadyFrame,
            SENDS_KEY_HEADER, TAKES_METRICS, ToPlatform, ToWorker, Writer,
        },
        job::ErrorText,
    },
};
use http::HeaderValue;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio_util::{
    sync::CancellationToken,
    task::{AbortOnDropHandle, TaskTracker},
};

use super::{
    health::Health,
    heartbeat::Heartbeat,
    http::Server,
    job::{self, Finished, Functions, Job},
    measured,
    reports::reports,
    settings::{ExchangeAddress, Settings},
    shutdown::Shutdown,
    upgrade::{self, Opened},
};
use crate::{
    call::{Calls, Peers},
    context::BatchSink,
};

/// How long the platform may take to accept the connection.
const CONNECT: Duration = Duration::from_secs(10);

/// Takes jobs until the platform or a signal stops it.
pub(super) async fn run_queue(
    address: &ExchangeAddress,
    settings: &Settings,
    functions: Arc<Functions>,
    peers: Option<&'static Peers>,
    shutdown: Shutdown,
    health: &Health,
) -> Result<(), String> {
    let connection = Connection::open(address).await?;
    health.report_to(connection.frames.clone());
    let _loads = connection.report();
    if let Some(peers) = peers {
        peers.use_exchange(connection.calls.clone());
    }
    let session = Session {
        functions: functions.clone(),
        frames: connection.frames.clone(),
        worker_id: settings.worker_id.clone(),
        hostname: settings.hostname.clone(),
        jobs: TaskTracker::new(),
        running: Arc::default(),
    };
    let pinged = session.clone();
    let jobs = move || pinged.with_running(|running| running.keys().map(|(id, _)| id.clone()).collect());
    let _heartbeat = address.heartbeats.as_ref().map(|beats| Heartbeat::start(beats, jobs)).transpose()?;
    let frames = connection.frames.clone();
    // It starts now, because `#[init]` may make calls and their replies arrive here.
    let mut serving = tokio::spawn(session.clone().serve(connection, shutdown.clone()));
    functions.init().await?;
    let max_concurrency = functions.worker_type().max_concurrency;
    frames.send(ToPlatform::Ready(ReadyFrame {
        max_concurrency,
        http_port: None,
        http_host: None,
        releases_slots: false,
        weighs_batches: true,
    }));
    let lost = tokio::select! {
        () = shutdown.requested() => None,
        outcome = &mut serving => Some(outcome.map_err(|error| error.to_string()).and_then(|outcome| outcome)),
    };
    session.jobs.close();
    if let Some(outcome) = lost {
        // The platform can no longer take results.
        functions.exit(&shutdown).await;
        return outcome;
    }
    if tokio::time::timeout(shutdown.left(), session.jobs.wait()).await.is_err() {
        return Err(format!("jobs still running {} s after the signal", shutdown.drain().as_secs()));
    }
    // Before the connection ends, because the platform then waits for the process only briefly.
    functions.exit(&shutdown).await;
    measured::report_now();
    // Writes everything that is queued, which the end of the runtime would drop.
    frames.end();
    let _ = serving.await;
    Ok(())
}

/// Serves HTTP. The exchange reports the port to the platform and carries calls.
pub(super) async fn run_load_balanced(
    address: &ExchangeAddress,
    settings: &Settings,
    functions: Arc<Functions>,
    peers: Option<&'static Peers>,
    shutdown: Shutdown,
    health: &Health,
) -> Result<(), String> {
    let mut server = Server::bind(settings, functions.clone()).await?;
    let http_port = Some(server.port());
    let connection = Connection::open(address).await?;
    if let Some(key) = &connection.sends_key {
        server.ask_for(key);
    }
    let http_host = server.host_seen_from(connection.own_host);
    health.report_to(connection.frames.clone());
    let _loads = connection.report();
    if let Some(peers) = peers {
        peers.use_exchange(connection.calls.clone());
    }
    // The platform knows which requests run, because it sent them.
    let _heartbeat =
        address.heartbeats.as_ref().map(|beats| Heartbeat::start(beats, Vec::new)).transpose()?;
    let frames = connection.frames.clone();
    let serving = {
        let (calls, stop, requests, answers) =
            (connection.calls.clone(), shutdown.clone(), server.requests(), frames.clone());
        let framed = server.framed_requests();
        let orphans = framed.clone();
        let releases = TaskTracker::new();
        let handle = move |frame| match frame {
            ToWorker::Reply(reply) => calls.complete(reply),
            ToWorker::CallChunk(chunk) => calls.chunk(chunk),
            ToWorker::Drain => stop.request(),
            ToWorker::Release(slot) => {
                let (cancelled, requests) = (framed.cancel(slot), requests.clone());
                let frames = answers.clone();
                releases.spawn(async move {
                    // Only then is it known what it has left behind.
                    cancelled.await;
                    requests.over(slot).await;
                    frames.send(ToPlatform::Released(slot));
                });
            }
            ToWorker::Request(request) => framed.start(request, &answers),
            // Jobs are for queue workers, so they are ignored here.
            ToWorker::Job(_) | ToWorker::Stop(_) => {}
        };
        let (calls, stop) = (connection.calls.clone(), shutdown.clone());
        tokio::spawn(async move {
            if let Err(error) = connection.serve(handle).await {
                tracing::debug!(%error, "the exchange broke");
            }
            calls.close();
            orphans.cancel_all().await;
            stop.request();
        })
    };
    let (own, ready) = (functions.clone(), frames.clone());
    let initialised = async move {
        own.init().await?;
        let max_concurrency = own.worker_type().max_concurrency;
        ready.send(ToPlatform::Ready(ReadyFrame {
            max_concurrency,
            http_port,
            http_host,
            releases_slots: true,
            weighs_batches: false,
        }));
        Ok(())
    };
    let outcome = server.run(initialised, shutdown.clone()).await;
    functions.exit(&shutdown).await;
    measured::report_now();
    // As above, with what is reported.
    frames.end();
    let _ = serving.await;
    outcome
}

/// An open exchange. Nothing is read or written before it is served.
struct Connection {
    stream: TokioIo<hyper::upgrade::Upgraded>,
    queued: Queued<ToPlatform>,
    frames: Writer<ToPlatform>,
    calls: Calls,
    takes_reports: bool,
    takes_metrics: bool,
    sends_key: Option<String>,
    own_host: IpAddr,
}

impl Connection {
    async fn open(address: &ExchangeAddress) -> Result<Self, String> {
        let problem = |reason: String| format!("could not open the exchange at {}: {reason}", address.url);
        let Upgraded { connection, format, takes_reports, takes_metrics, sends_key, own_host } =
            tokio::time::timeout(CONNECT, upgrade(address))
                .await
                .map_err(|_| problem("no answer".to_owned()))?
                .map_err(problem)?;
        let (frames, queued) = exchange::queue(format);
        let calls = Calls::new(frames.clone());
        Ok(Self {
            stream: TokioIo::new(connection),
            queued,
            frames,
            calls,
            takes_reports,
            takes_metrics,
            sends_key,
            own_host,
        })
    }

    /// Runs both directions until one side ends it.
    async fn serve(self, handle: impl FnMut(ToWorker)) -> io::Result<EndedBy> {
        // Its own handle must not keep the connection open.
        let Self { stream, queued, .. } = self;
        exchange::serve(stream, queued, handle).await
    }

    /// Reports go to the platform from now on, if it takes them. Dropping the result ends those about models' loads and
    /// the app's own metrics.
    fn report(&self) -> [AbortOnDropHandle<()>; 2] {
        reports().report_to(self.takes_reports.then(|| self.frames.clone()));
        if self.takes_metrics {
            reports().measure_for(self.frames.clone());
        }
        [tokio::spawn(reports().send_loads()), tokio::spawn(measured::report())].map(AbortOnDropHandle::new)
    }
}

/// A connection that speaks the exchange, and what the platform understands on it.
struct Upgraded {
    connection: hyper::upgrade::Upgraded,
    format: FrameFormat,
    takes_reports: bool,
    takes_metrics: bool,
    /// With requests to the worker's port.
    sends_key: Option<String>,
    own_host: IpAddr,
}

async fn upgrade(address: &ExchangeAddress) -> Result<Upgraded, String> {
    let headers = [(ATTACHMENTS_HEADER, READS_SHORT)];
    let Opened { headers: answer, connection, own_host } =
        upgrade::open(&address.url, PROTOCOL, &address.key, &headers).await?;
    let format = FrameFormat::of_header(answer.get(ATTACHMENTS_HEADER).map(HeaderValue::as_bytes));
    let reports = answer.get(REPORTS_HEADER);
    let (takes_reports, takes_metrics) =
        (reports.is_some(), reports.is_some_and(|value| value == TAKES_METRICS));
    let sends_key = answer.get(SENDS_KEY_HEADER).and_then(|key| key.to_str().ok()).map(str::to_owned);
    Ok(Upgraded { connection, format, takes_reports, takes_metrics, sends_key, own_host })
}

/// A job's ID and attempt. The same job may arrive again while its stopped attempt is still ending.
type Attempt = (String, u32);

/// Fails a job whose result is over the limit; sending it would end the connection.
fn within_limit(output: Payload) -> flash_protocol::Result<Payload> {
    match output.json_len() {
        length if length > MAX_RESULT_BYTES => {
            let message = format!("the result is {length} bytes of JSON, the limit is {MAX_RESULT_BYTES}");
            Err(Error::new(ErrorKind::Encode, message))
        }
        _ => Ok(output),
    }
}

/// What the jobs of a queue worker share.
#[derive(Clone)]
struct Session {
    functions: Arc<Functions>,
    frames: Writer<ToPlatform>,
    worker_id: String,
    hostname: String,
    jobs: TaskTracker,
    /// Running attempts, so that they can be stopped.
    running: Arc<Mutex<HashMap<Attempt, CancellationToken>>>,
}

impl Session {
    /// Serves frames until one side hangs up.
    async fn serve(self, connection: Connection, shutdown: Shutdown) -> Result<(), String> {
        let calls = connection.calls.clone();
        let handle = |frame| match frame {
            ToWorker::Job(frame) => self.start(frame),
            ToWorker::Stop(frame) => self.stop(&(frame.id, frame.attempt)),
            ToWorker::Reply(reply) => calls.complete(reply),
            ToWorker::CallChunk(chunk) => calls.chunk(chunk),
            ToWorker::Drain => shutdown.request(),
            // Requests are for load-balanced workers.
            ToWorker::Release(_) | ToWorker::Request(_) => {}
        };
        let ended = connection.serve(handle).await;
        calls.close();
        match ended {
            Ok(EndedBy::ThisSide) => Ok(()),
            Ok(EndedBy::OtherSide) if shutdown.is_requested() => Ok(()),
            Ok(EndedBy::OtherSide) => Err("the platform closed the exchange".to_owned()),
            Err(error) => Err(format!("the exchange broke: {error}")),
        }
    }

    fn with_running<T>(&self, with: impl FnOnce(&mut HashMap<Attempt, CancellationToken>) -> T) -> T {
        with(&mut self.running.lock())
    }

    fn stop(&self, attempt: &Attempt) {
        if let Some(cancelled) = self.with_running(|running| running.get(attempt).cloned()) {
            cancelled.cancel();
        }
    }

    fn start(&self, frame: JobFrame) {
        let cancelled = CancellationToken::new();
        self.with_running(|running| running.insert((frame.id.clone(), frame.attempt), cancelled.clone()));
        let session = self.clone();
        self.jobs.spawn(async move { session.run(frame, cancelled).await });
    }

    async fn run(self, frame: JobFrame, cancelled: CancellationToken) {
        let JobFrame { id, attempt, envelope, takes_attachments, weighed, input, .. } = frame;
        let batch_sink = weighed.then(|| {
            let frames = self.frames.clone();
            let sink: BatchSink = Arc::new(move |jobs| {
                // If the connection is broken, so is the worker.
                frames.send(ToPlatform::Batch(BatchFrame { jobs }));
            });
            sink
        });
        let (frames, progress_id) = (self.frames.clone(), id.clone());
        let progress = move |output| {
            frames.send(ToPlatform::Progress(OutputFrame {
                id: progress_id.clone(),
                attempt,
                output: Payload::from(output),
            }));
        };
        let job = Job {
            id: id.clone(),
            attempt,
            envelope,
            input: Some(input),
            cancelled,
            progress: Some(Arc::new(progress)),
            batch_sink,
        };
        let Finished { outcome, ran, context, .. } =
            job::run(&self.functions, &self.worker_id, job, |chunk| {
                let output = if takes_attachments { chunk } else { chunk.into_json().into() };
                self.frames.send(ToPlatform::Chunk(OutputFrame { id: id.clone(), attempt, output }));
            })
            .await;
        let attempt_key = (id, attempt);
        self.with_running(|running| running.remove(&attempt_key));
        let (id, attempt) = attempt_key;
        let ran_us = u64::try_from(ran.as_micros()).unwrap_or(u64::MAX);
        let (output, error) = match outcome.and_then(within_limit) {
            Ok(output) if takes_attachments => (Some(output), None),
            // Encoded here and not by the platform, once for all who read it.
            Ok(output) => (Some(output.into_json().into()), None),
            Err(error) => (None, Some(ErrorText::of(error.to_wire(), &self.hostname).to_text())),
        };
        let batch = context.batch().map(|(run, _)| run);
        let generated = context.take_generated();
        // If the connection is broken, the platform has already put the job back into the queue.
        self.frames.send(ToPlatform::Done(DoneFrame {
            id,
            attempt,
            output,
            error,
            ran_us,
            batch,
            generated,
        }));
    }
}
