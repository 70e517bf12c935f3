//! Chunks of streaming jobs, kept until a client of `stream` fetches them.
//!
//! Invariant: fetched and waiting chunks are the beginning of what the worker sent, without a gap. Once a chunk is
//! refused, all later chunks of that attempt are too. The rest then comes from the job's result, if that is the list
//! of all chunks, as it is for Flash workers. Any other job fails when it ends, because its client would miss chunks.
use std::{collections::VecDeque, time::Duration};

use flash_protocol::{
    ErrorKind, WireError,
    wire::{
        RawJson,
        job::{ErrorText, JobStatus},
    },
};
use serde_json::value::RawValue;

use super::{
    JobId, Outcome, Queue, WorkerId,
    budget::{Budget, Purpose},
    job::Entry,
};

/// Chunks of one job that may wait to be fetched.
const MAX_WAITING: usize = 10_000;
/// Like [`MAX_WAITING`], in bytes.
const MAX_WAITING_BYTES: usize = 64_000_000;

/// Chunks that were not fetched before, and the job's status at that moment.
#[derive(Debug)]
pub(crate) struct Stream {
    pub status: JobStatus,
    pub chunks: Vec<RawJson>,
}

/// What became of a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Offered {
    Taken,
    /// It and all later chunks are refused: too many wait, or jobs use too much memory.
    Refused,
    /// The worker does not run this job any more, which is reported to it elsewhere.
    NotRunning,
}

/// Whether further chunks are taken.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Intake {
    #[default]
    Open,
    /// One was refused.
    Closed,
}

/// The chunks of an attempt.
#[derive(Default)]
pub(super) struct Chunks {
    waiting: VecDeque<RawJson>,
    bytes: usize,
    /// How many were taken, those that were fetched included.
    taken: usize,
    intake: Intake,
    /// Whether a client has fetched chunks, so that waiting for it makes sense.
    has_reader: bool,
}

impl Chunks {
    /// Their size in bytes.
    pub(super) fn weight(&self) -> usize {
        self.bytes + self.waiting.len() * size_of::<RawJson>()
    }

    /// Drops them; a new attempt begins.
    pub(super) fn begin_anew(&mut self) {
        *self = Self { has_reader: self.has_reader, ..Self::default() };
    }

    fn has_room(&self, budget: &Budget, bytes: usize) -> bool {
        self.intake == Intake::Open
            && self.waiting.len() < MAX_WAITING
            && self.bytes < MAX_WAITING_BYTES
            && budget.has_room(bytes, Purpose::Progress)
    }

    fn push(&mut self, chunk: RawJson) {
        self.bytes += chunk.get().len();
        self.taken += 1;
        self.waiting.push_back(chunk);
    }

    fn drain(&mut self) -> Vec<RawJson> {
        self.bytes = 0;
        self.waiting.drain(..).collect()
    }
}

impl Entry {
    /// Stores a chunk; returns it if there is no room.
    fn take_chunk(&mut self, chunk: RawJson, budget: &Budget) -> Result<(), RawJson> {
        let run = self.run_mut();
        if !run.chunks.has_room(budget, chunk.get().len()) {
            return Err(chunk);
        }
        run.chunks.push(chunk);
        self.chunks_changed();
        Ok(())
    }

    fn chunks_changed(&mut self) {
        self.weigh();
        if let Some(arrivals) = self.run.as_ref().and_then(|run| run.arrivals.as_ref()) {
            arrivals.notify_waiters();
        }
    }

    /// The waiting chunks, for a client.
    pub(super) fn fetch_chunks(&mut self) -> Stream {
        let chunks = self.run.as_mut().map(|run| run.chunks.drain()).unwrap_or_default();
        if !chunks.is_empty() {
            // A worker may wait for the room.
            self.chunks_changed();
        }
        Stream { status: self.status(), chunks }
    }

    pub(super) fn has_chunks(&self) -> bool {
        self.run.as_ref().is_some_and(|run| !run.chunks.waiting.is_empty())
    }

    /// A client asks for chunks.
    pub(super) fn has_reader(&mut self) {
        self.run_mut().chunks.has_reader = true;
    }

    /// How many chunks were taken before one was refused; `None` where none was.
    pub(super) fn taken_before_refusal(&self) -> Option<usize> {
        let chunks = &self.run.as_ref()?.chunks;
        (chunks.intake == Intake::Closed).then_some(chunks.taken)
    }

    /// The chunks that were refused, now that they are known.
    pub(super) fn append_chunks(&mut self, rest: Vec<RawJson>) {
        let chunks = &mut self.run_mut().chunks;
        rest.into_iter().for_each(|chunk| chunks.push(chunk));
        self.weigh();
    }
}

impl Queue {
    /// One chunk of a streaming job, from a worker that gets no answer.
    pub(crate) fn chunk(&self, worker: &WorkerId, job: JobId, chunk: RawJson) {
        let mut inner = self.lock();
        let Some(entry) = inner.jobs.get_mut(job).filter(|entry| entry.is_run_by(worker)) else { return };
        if entry.take_chunk(chunk, &self.settings.budget).is_err() {
            entry.run_mut().chunks.intake = Intake::Closed;
        }
    }

    /// Like [`Queue::chunk`], from a worker that waits for the answer. If there is no room and a client fetches the
    /// stream, it waits for room, up to `hold`, so that the worker follows the client's pace.
    pub(crate) async fn offer_chunk(
        &self,
        worker: &WorkerId,
        job: JobId,
        mut chunk: RawJson,
        hold: Duration,
    ) -> Offered {
        let until = tokio::time::Instant::now() + hold;
        loop {
            let arrivals = {
                let mut inner = self.lock();
                let running = inner.jobs.get_mut(job).filter(|entry| entry.is_run_by(worker));
                let Some(entry) = running else { return Offered::NotRunning };
                match entry.take_chunk(chunk, &self.settings.budget) {
                    Ok(()) => return Offered::Taken,
                    Err(refused) => chunk = refused,
                }
                let chunks = &mut entry.run_mut().chunks;
                let is_over = tokio::time::Instant::now() >= until;
                if chunks.intake == Intake::Closed || !chunks.has_reader || is_over {
                    chunks.intake = Intake::Closed;
                    return Offered::Refused;
                }
                // Registered under the lock, so that later fetches wake it.
                entry.arrivals().notified_owned()
            };
            // Over or not, the next look decides.
            let _ = tokio::time::timeout_at(until, arrivals).await;
        }
    }
}

/// The end of a job whose stream was refused after `taken` chunks, and the remaining chunks. Do not call it under the
/// lock: a result may have millions of elements.
pub(super) fn whole_stream(worker: &WorkerId, taken: usize, outcome: Outcome) -> (Outcome, Vec<RawJson>) {
    match outcome {
        Outcome::Completed(output) => match rest_of(&output, taken) {
            Some(rest) => (Outcome::Completed(output), rest),
            None => (Outcome::FailedWith(incomplete(worker, taken), output), Vec::new()),
        },
        outcome => (outcome, Vec::new()),
    }
}

/// The chunks after the first `taken` in a list of all chunks; `None` if it is not such a list.
fn rest_of(output: &RawValue, taken: usize) -> Option<Vec<RawJson>> {
    let all: Vec<&RawValue> = serde_json::from_str(output.get()).ok()?;
    let rest = all.get(taken..).filter(|rest| !rest.is_empty())?;
    Some(rest.iter().map(|chunk| (*chunk).to_owned()).collect())
}

/// The error of a job that sent more chunks than are kept and did not return all of them.
fn incomplete(worker: &WorkerId, taken: usize) -> String {
    let message = format!(
        "the stream is incomplete: chunk {} and later chunks were refused, because at most {MAX_WAITING} \
         chunks or {} MB may wait to be fetched, and the result does not list them; fetch `stream` while the \
         job runs, send fewer or larger chunks, or return all chunks as a list (`return_aggregate_stream` in \
         the Python SDK)",
        taken + 1,
        MAX_WAITING_BYTES / 1_000_000,
    );
    let mut error = WireError::new(ErrorKind::Refused, message);
    error.worker_id = Some(worker.to_string());
    ErrorText::of(&error, "platform").to_text()
}
