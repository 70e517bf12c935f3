//! Tests the guarantees of the queue without processes: workers are ends of channels.
mod budget;
mod guard;
mod kept;
mod keys;
mod life;
mod polling;
mod releases;
mod retries;
mod stream;
mod suspects;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use flash_protocol::{
    ErrorKind, WireError,
    wire::{
        RawJson,
        envelope::Envelope,
        exchange::{self, FrameFormat, JobFrame, Reader, ToPlatform, ToWorker, Writer},
        job::JobStatus,
    },
};
use parking_lot::Mutex;
use tempfile::TempDir;
use tokio::{io::DuplexStream, sync::oneshot};

use super::{clock::Clock, *};
use crate::{meter::Account, worker_id::WorkerId};

/// A Flash worker from the queue's view.
struct FakeWorker {
    id: WorkerId,
    reader: Reader<DuplexStream>,
    writing: tokio::task::JoinHandle<std::io::Result<exchange::EndedBy>>,
}

impl FakeWorker {
    fn attach(queue: &Queue, id: &str, slots: u32) -> Self {
        let (worker, frames) = Self::connect(id, FrameFormat::Json);
        queue.attach(&worker.id, DeliveryMode::Exchange(frames), slots, Account::free());
        worker
    }

    /// One that takes no jobs, and what the queue writes to.
    fn connect(id: &str, format: FrameFormat) -> (Self, Writer<ToWorker>) {
        let (near, far) = tokio::io::duplex(1 << 20);
        let (frames, queued) = exchange::queue(format);
        let writing = tokio::spawn(exchange::serve(near, queued, |_: ToPlatform| {}));
        (Self { id: id.into(), reader: exchange::read(far), writing }, frames)
    }

    async fn frame(&mut self) -> ToWorker {
        self.reader.next().await.unwrap().expect("the queue still talks to the worker")
    }

    async fn job(&mut self) -> JobFrame {
        match self.frame().await {
            ToWorker::Job(job) => job,
            other => panic!("a job was expected: {other:?}"),
        }
    }

    fn finish(&self, queue: &Queue, job: &JobFrame) -> bool {
        let outcome = Outcome::Completed(json("\"done\"").into());
        queue.finish(&self.id, id_of(job), Some(job.attempt), outcome, None) == Reported::Accepted
    }
}

impl Drop for FakeWorker {
    fn drop(&mut self) {
        self.writing.abort();
    }
}

fn json(text: &str) -> RawJson {
    serde_json::value::RawValue::from_string(text.to_owned()).unwrap()
}

fn id_of(job: &JobFrame) -> JobId {
    JobId::parse(&job.id).unwrap()
}

/// A queue with a store, a clock that the test sets, and the reported ends of jobs.
struct Bench {
    queue: Arc<Queue>,
    context: QueueContext,
    now: Arc<AtomicU64>,
    ends: Arc<Mutex<Vec<Ended>>>,
    webhooks: tokio::sync::mpsc::Receiver<JobEnded>,
    directory: TempDir,
}

impl std::ops::Deref for Bench {
    type Target = Arc<Queue>;

    fn deref(&self) -> &Arc<Queue> {
        &self.queue
    }
}

impl Bench {
    fn with(limits: Limits) -> Self {
        Self::holding(limits, Budget::default())
    }

    fn holding(limits: Limits, budget: Budget) -> Self {
        let directory = TempDir::new().unwrap();
        let (store, ..) = Backlog::open(directory.path(), Durability::Process).unwrap();
        let now = Arc::new(AtomicU64::new(1_000_000_000_000));
        let (outbox, webhooks) = WebhookOutbox::new();
        let ends: Arc<Mutex<Vec<Ended>>> = Arc::default();
        let seen = ends.clone();
        let context = QueueContext { clock: Clock::Manual(now.clone()), store, outbox, budget, traces: None };
        let on_end = Box::new(move |ended| seen.lock().push(ended));
        let queue = Arc::new(Queue::new("bench", 1, limits, &context, on_end));
        Self { queue, context, now, ends, webhooks, directory }
    }

    /// The queue of the same endpoint in the next release.
    fn next_release(&self) -> Arc<Queue> {
        Arc::new(Queue::new("bench", 2, Limits::default(), &self.context, Box::new(|_| ())))
    }

    fn advance(&self, time: Duration) {
        self.now.fetch_add(u64::try_from(time.as_micros()).unwrap(), Ordering::SeqCst);
    }

    fn run(&self, input: &str) -> JobId {
        self.submit(job(input)).unwrap().id
    }
}

fn queue() -> Bench {
    Bench::with(Limits::default())
}

fn job(text: &str) -> Submission {
    Submission::new(Origin::Run, json(text), Envelope::default())
}

fn status(queue: &Queue, id: JobId) -> JobStatus {
    queue.peek(id).unwrap().status
}

use flash_protocol::wire::job::JobStatus::{Cancelled, Completed, Failed, InProgress, InQueue, TimedOut};
