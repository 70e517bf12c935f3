//! How a job enters a queue, and when its submitter can rely on it.
use std::time::Duration;

use flash_protocol::{
    catalogue::NanoDollars,
    wire::{Payload, envelope::Envelope},
};
use sha2::{Digest as _, Sha256};

use super::{
    budget::{BudgetExceeded, Held, Purpose},
    endpoint_queue::{Queue, QueueState},
    extras::{Extras, IdempotencyKey},
    guard::Guard,
    id::JobId,
    job::{Entry, Origin, Waiter},
    keys::{KeyInUse, Named},
    state::JobState,
    store::Failing,
    ticket::Ticket,
};
use crate::traces::key_of;

/// A job to be.
pub(crate) struct Submission {
    pub input: Payload,
    pub envelope: Envelope,
    pub origin: Origin,
    /// How long one attempt may run; the worker type's limit otherwise.
    pub execution_timeout: Option<Duration>,
    /// How long it may take from now to its end.
    pub ttl: Option<Duration>,
    /// Does not start a worker, and runs after all others.
    pub low_priority: bool,
    /// Notified of the end.
    pub webhook: Option<String>,
    /// The client's own name for the job.
    pub idempotency_key: Option<String>,
    /// Passed on to the worker.
    pub s3_config: Option<String>,
    /// Who is notified of the end; nobody for `run`.
    pub waiter: Option<Waiter>,
}

impl Submission {
    /// With nothing but the necessary.
    pub(crate) fn new(origin: Origin, input: impl Into<Payload>, envelope: Envelope) -> Self {
        Self {
            input: input.into(),
            envelope,
            origin,
            execution_timeout: None,
            ttl: None,
            low_priority: false,
            webhook: None,
            idempotency_key: None,
            s3_config: None,
            waiter: None,
        }
    }
}

/// Whether an idempotency key created a job or found one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Idempotency {
    New,
    Repeated,
}

/// A job that was taken in.
#[derive(Debug)]
pub(crate) struct Submitted {
    pub id: JobId,
    pub idempotency: Idempotency,
    pub(super) ticket: Ticket,
}

impl Submitted {
    /// The job that its key already names.
    fn repeated(Named { id, ticket, .. }: Named) -> Self {
        Self { id, idempotency: Idempotency::Repeated, ticket }
    }
}

/// Why a job is not accepted.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SubmitError {
    #[error("{waiting} jobs are already waiting")]
    Full { waiting: usize },
    #[error(transparent)]
    BudgetExceeded(#[from] BudgetExceeded),
    #[error("the idempotency key belongs to job `{0}`, which has another function or input")]
    KeyInUse(JobId),
    #[error("the app no longer has this worker type")]
    Ended,
    #[error(transparent)]
    Store(#[from] Failing),
}

impl From<KeyInUse> for SubmitError {
    fn from(KeyInUse(job): KeyInUse) -> Self {
        Self::KeyInUse(job)
    }
}

impl Queue {
    /// Accepts a job; a consumer with a free slot has it before this returns. The submitter may get the ID after
    /// [`Queue::stored`].
    pub(crate) fn submit(&self, submission: Submission) -> Result<Submitted, SubmitError> {
        let durable = submission.origin == Origin::Run;
        if durable && let Some(failing) = self.settings.store.failing() {
            return Err(failing.into());
        }
        let mut inner = self.lock();
        match &inner.state {
            QueueState::Live => {}
            QueueState::ReplacedBy(successor) => {
                // A client was slow to send its job, and its release has been replaced meanwhile.
                let successor = successor.clone();
                drop(inner);
                return successor.submit(submission);
            }
            QueueState::Ended => return Err(SubmitError::Ended),
        }
        let key = submission.idempotency_key.as_deref().map(|key| IdempotencyKey {
            key: key.into(),
            fingerprint: fingerprint(
                submission.envelope.function.as_deref(),
                submission.input.to_json().get(),
            ),
        });
        if let Some(known) = key.as_ref().and_then(|key| self.settings.keys.lock().known(key).transpose()) {
            return known.map(Submitted::repeated).map_err(SubmitError::from);
        }
        let limits = &self.settings.limits;
        let waiting = inner.jobs.waiting() + inner.jobs.waiting_low() + inner.jobs.delayed.len();
        if waiting >= limits.max_waiting {
            return Err(SubmitError::Full { waiting });
        }
        let purpose = match submission.origin {
            Origin::Run | Origin::RunSync => Purpose::Intake,
            // Its caller holds a slot, and ends only after the answer.
            Origin::Call => Purpose::Progress,
        };
        let mut entry = self.entry(submission, key.clone());
        entry.held = inner.room_for(entry.weight(), purpose, &self.settings)?;
        // Held until the key belongs to the new job, because another release may get the same key at this moment. Not
        // locked before there is room, because dropped jobs release their keys.
        let keys = key.as_ref().map(|key| (key, self.settings.keys.lock()));
        if let Some(known) = keys.as_ref().and_then(|(key, keys)| keys.known(key).transpose()) {
            return known.map(Submitted::repeated).map_err(SubmitError::from);
        }
        // Under the lock, so that IDs are in the order of the queue.
        let id = match entry.origin {
            Origin::Run => JobId::of_run(),
            Origin::RunSync | Origin::Call => JobId::of_waited(),
        };
        if let Some(traces) = &self.settings.traces
            && entry.envelope.traceparent.is_none()
        {
            // One of a schedule: no request has brought it.
            entry.envelope.traceparent = Some(traces.root_of(key_of(&id), entry.trace_run()));
            entry.weigh();
        }
        inner.jobs.insert(id, Box::new(entry));
        let ticket = if durable { inner.jobs.store(id, &self.settings) } else { None };
        if let Some((key, mut keys)) = keys {
            keys.name(key, id, ticket.unwrap_or_default());
        }
        inner.dispatch(&self.settings);
        let left_waiting = inner.jobs.has_waiting();
        drop(inner);
        if left_waiting {
            self.changed.notify_one();
        }
        Ok(Submitted { id, idempotency: Idempotency::New, ticket: ticket.unwrap_or_default() })
    }

    fn entry(&self, submission: Submission, idempotency: Option<IdempotencyKey>) -> Entry {
        let Submission { input, envelope, origin, execution_timeout, ttl, low_priority, .. } = submission;
        let extras = Extras { webhook: submission.webhook, idempotency, s3_config: submission.s3_config };
        let now = self.settings.clock.now();
        let ttl = ttl.unwrap_or(self.settings.limits.ttl);
        let expires_at = now.after(ttl);
        Entry {
            state: JobState::Queued { attempts: 0 },
            input,
            input_dropped: false,
            envelope,
            origin,
            low_priority,
            suspect: false,
            losses: 0,
            guard: Guard::Free,
            execution_timeout: execution_timeout.unwrap_or(self.settings.limits.execution_timeout),
            ttl,
            submitted_at: now,
            queued_at: now,
            expires_at,
            attempts: 0,
            attempts_before: 0,
            failures: 0,
            cost: NanoDollars(0),
            record: None,
            ticket: Ticket::default(),
            timer: expires_at,
            delivered: false,
            waiters: Vec::from_iter(submission.waiter),
            extras: (extras != Extras::default()).then(|| Box::new(extras)),
            run: None,
            held: Held::default(),
        }
    }

    /// Waits until an accepted job is durable, if its origin requires that.
    ///
    /// # Errors
    /// If it cannot be stored now. A new job that no worker has had is removed; any other continues, and the client
    /// can find it with its idempotency key.
    pub(crate) async fn stored(&self, submitted: &Submitted) -> Result<(), Failing> {
        let stored = self.settings.store.committed(submitted.ticket).await;
        if stored.is_err() && submitted.idempotency == Idempotency::New {
            // Where it is now: its release may have been replaced while it was sent.
            self.home_of(|queue| {
                let mut inner = queue.lock();
                let is_queued = inner.jobs.get(submitted.id)?.is_queued();
                is_queued.then(|| inner.jobs.remove(submitted.id, &queue.settings)).map(drop)
            });
        }
        stored
    }

    /// Makes a job durable that its submitter no longer waits for, and waits until it is.
    ///
    /// # Errors
    /// If it cannot be stored now. The job continues.
    pub(crate) async fn keep(&self, job: JobId) -> Result<(), Failing> {
        let ticket = self.home_of(|queue| queue.lock().jobs.store(job, &queue.settings));
        match ticket {
            Some(ticket) => self.settings.store.committed(ticket).await,
            None => Ok(()),
        }
    }
}

/// Of a function and its input, the same in every version: stored keys are compared with it. The spacing of the input
/// does not count, as a client that sends again may write it otherwise.
fn fingerprint(function: Option<&str>, input: &str) -> u64 {
    let mut digest = Sha256::new();
    digest.update(function.unwrap_or_default());
    // Where the one ends and the other begins.
    digest.update([0]);
    without_spacing(input, |part| digest.update(part));
    let digest = digest.finalize();
    let mut first = [0; 8];
    first.copy_from_slice(&digest[..8]);
    // SQLite's integers are signed; one bit less is enough to distinguish inputs.
    u64::from_be_bytes(first) >> 1
}

/// The parts of a JSON text between the blanks that stand outside of its strings.
fn without_spacing<'a>(json: &'a str, mut each: impl FnMut(&'a str)) {
    let (mut start, mut in_string, mut escaped) = (0, false, false);
    for (at, byte) in json.bytes().enumerate() {
        if in_string {
            in_string = byte != b'"' || escaped;
            escaped = byte == b'\\' && !escaped;
        } else if matches!(byte, b' ' | b'\t' | b'\n' | b'\r') {
            each(&json[start..at]);
            start = at + 1;
        } else {
            in_string = byte == b'"';
        }
    }
    each(&json[start..]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_spacing_of_an_input_does_not_make_it_another() {
        let of = |input: &str| fingerprint(Some("f"), input);
        let input = r#"{"a b":"c \" d","e":[1,2]}"#;
        assert_eq!(of(input), of("{ \"a b\" : \"c \\\" d\",\n\t\"e\": [1, 2] }\r\n"));
        for other in
            [r#"{"ab":"c \" d","e":[1,2]}"#, r#"{"a b":"c \"d","e":[1,2]}"#, r#"{"a b":"c \" d","e":[12]}"#]
        {
            assert_ne!(of(input), of(other), "{other}");
        }
        assert_ne!(fingerprint(Some("g"), input), of(input));
    }
}
