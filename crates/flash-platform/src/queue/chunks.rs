//! Chunks of streaming jobs, kept until a client of `stream` fetches them.
//!
//! Invariant: fetched and waiting chunks are the beginning of what the worker sent, without a gap. Once a chunk is
//! refused, all later chunks of that attempt are too. The rest then comes from the job's result, if that is the list
//! of all chunks, as it is for Flash workers. Any other job fails when it ends, because its client would miss chunks.
use std::collections::VecDeque;

use flash_protocol::{
    ErrorKind, WireError,
    wire::{
        Payload,
        job::{ErrorText, JobObject, JobStatus},
    },
};
use serde_json::value::RawValue;

use super::{
    budget::{Budget, Purpose},
    state::{Attempt, Outcome},
};
use crate::worker_id::WorkerId;

/// Chunks of one job that may wait to be fetched.
const MAX_WAITING: usize = 10_000;
/// Like [`MAX_WAITING`], in bytes.
const MAX_WAITING_BYTES: usize = 64_000_000;

/// Chunks that were not fetched before, and the job's status at that moment.
#[derive(Debug)]
pub(crate) struct Stream {
    pub status: JobStatus,
    /// The attempt that made them.
    pub attempt: Attempt,
    pub chunks: Vec<Payload>,
}

/// The end of a job for whoever reads its chunks: those that were not fetched before, and the job without output.
#[derive(Debug)]
pub(crate) struct StreamEnd {
    pub job: JobObject,
    /// The attempt that made them.
    pub attempt: Attempt,
    pub chunks: Vec<Payload>,
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
    waiting: VecDeque<Payload>,
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
        self.bytes + self.waiting.len() * size_of::<Payload>()
    }

    /// Drops them; a new attempt begins.
    pub(super) fn begin_anew(&mut self) {
        *self = Self { has_reader: self.has_reader, ..Self::default() };
    }

    pub(super) fn has_room(&self, budget: &Budget, bytes: usize) -> bool {
        self.intake == Intake::Open
            && self.waiting.len() < MAX_WAITING
            && self.bytes < MAX_WAITING_BYTES
            && budget.has_room(bytes, Purpose::Progress)
    }

    pub(super) fn push(&mut self, chunk: Payload) {
        self.bytes += chunk.weight();
        self.taken += 1;
        self.waiting.push_back(chunk);
    }

    /// Takes out the first one and those after it, up to this many bytes together.
    pub(super) fn drain(&mut self, most: usize) -> Vec<Payload> {
        let mut bytes = 0;
        let mut fitting = 0;
        for chunk in &self.waiting {
            let with_it = bytes + chunk.weight();
            if fitting > 0 && with_it > most {
                break;
            }
            (bytes, fitting) = (with_it, fitting + 1);
        }
        self.bytes -= bytes;
        self.waiting.drain(..fitting).collect()
    }

    /// No further chunks are taken.
    pub(super) fn close(&mut self) {
        self.intake = Intake::Closed;
    }

    pub(super) fn is_closed(&self) -> bool {
        self.intake == Intake::Closed
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// How many were taken, those that were fetched included.
    pub(super) fn taken(&self) -> usize {
        self.taken
    }

    /// Whether a client fetches them.
    pub(super) fn has_reader(&self) -> bool {
        self.has_reader
    }

    /// A client fetches them.
    pub(super) fn set_has_reader(&mut self) {
        self.has_reader = true;
    }
}

/// The end of a job whose stream was refused after `taken` chunks, and the remaining chunks. Do not call it under the
/// lock: a result may have millions of elements.
pub(super) fn whole_stream(worker: &WorkerId, taken: usize, outcome: Outcome) -> (Outcome, Vec<Payload>) {
    match outcome {
        Outcome::Completed(output) => match rest_of(&output.to_json(), taken) {
            Some(rest) => (Outcome::Completed(output), rest),
            None => (Outcome::FailedWith(incomplete(worker, taken), output.into_json()), Vec::new()),
        },
        outcome => (outcome, Vec::new()),
    }
}

/// The chunks after the first `taken` in a list of all chunks; `None` if it is not such a list. Their bytes are base64,
/// also for a worker: a reader that lets so many chunks wait gains nothing from raw ones.
fn rest_of(output: &RawValue, taken: usize) -> Option<Vec<Payload>> {
    let all: Vec<&RawValue> = serde_json::from_str(output.get()).ok()?;
    let rest = all.get(taken..).filter(|rest| !rest.is_empty())?;
    Some(rest.iter().map(|chunk| Payload::from((*chunk).to_owned())).collect())
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
