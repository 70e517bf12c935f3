//! Between a job in memory and its record in the store.
use std::sync::Arc;

use super::{
    budget::Held,
    clock::Timestamp,
    guard::Guard,
    id::JobId,
    job::{Entry, Origin, Run},
    settings::QueueSettings,
    state::JobState,
    store::{End, Found, Record},
    ticket::{Seq, Ticket},
};

/// A job as it is found in the store.
pub(super) struct Stored {
    pub endpoint: Arc<str>,
    /// As in [`Record`].
    pub release: u64,
    pub id: JobId,
    pub entry: Box<Entry>,
}

impl From<Found> for Stored {
    /// The job as the next platform has it.
    fn from(Found { record, end, delivered, losses, after_unclean_end }: Found) -> Self {
        let (endpoint, release) = (record.endpoint.clone(), record.release);
        let (id, mut entry) = entry_of(record, end);
        entry.delivered = delivered;
        entry.losses = losses;
        if entry.is_waiting() && (losses > 0 || after_unclean_end) {
            entry.guard = Guard::Unmarked;
        }
        Self { endpoint, release, id, entry }
    }
}

/// The job as the next platform has it.
fn entry_of(record: Record, end: Option<End>) -> (JobId, Box<Entry>) {
    let mut entry = Entry {
        state: match record.not_before {
            Some(until) => JobState::Delayed { attempts: record.attempts, until },
            None => JobState::Queued { attempts: record.attempts },
        },
        input: record.input,
        input_dropped: false,
        envelope: record.envelope,
        origin: if record.sync_origin { Origin::RunSync } else { Origin::Run },
        low_priority: record.low_priority,
        // Its workers died, or lost it: which of the two is not stored.
        suspect: record.attempts > record.attempts_before,
        losses: 0,
        guard: Guard::Free,
        execution_timeout: record.execution_timeout,
        ttl: record.ttl,
        submitted_at: record.submitted_at,
        queued_at: record.submitted_at,
        expires_at: record.expires_at,
        attempts: record.attempts,
        attempts_before: record.attempts_before,
        failures: record.failures,
        cost: record.cost,
        record: Some(record.seq),
        ticket: Ticket::default(),
        timer: record.expires_at,
        delivered: false,
        waiters: Vec::new(),
        extras: record.extras.map(Box::new),
        run: None,
        held: Held::default(),
    };
    if let Some(end) = end {
        entry.state = JobState::Done(end.outcome);
        entry.attempts = end.attempts;
        // It only grows: the greater one is the later one.
        entry.cost = entry.cost.max(end.cost);
        entry.timer = end.forget_at;
        entry.run = Some(Box::new(Run {
            worker: end.worker,
            delay: end.delay,
            ran: Some(end.ran),
            ..Run::default()
        }));
    }
    entry.weigh();
    (record.id, Box::new(entry))
}

/// What to store of a job.
pub(super) fn record_of(seq: Seq, settings: &QueueSettings, id: JobId, entry: &Entry) -> Record {
    Record {
        seq,
        endpoint: settings.endpoint.clone(),
        release: settings.release,
        id,
        sync_origin: entry.origin != Origin::Run,
        submitted_at: entry.submitted_at,
        expires_at: entry.expires_at,
        execution_timeout: entry.execution_timeout,
        ttl: entry.ttl,
        low_priority: entry.low_priority,
        attempts: entry.attempts,
        attempts_before: entry.attempts_before,
        failures: entry.failures,
        not_before: entry.delayed_until(),
        cost: entry.cost,
        envelope: entry.envelope.clone(),
        extras: entry.extras.as_deref().cloned(),
        input: entry.input.clone(),
    }
}

/// What to store of a job that has ended; `None` for one that has not.
pub(super) fn end_of(entry: &Entry, forget_at: Timestamp) -> Option<End> {
    let JobState::Done(outcome) = &entry.state else { return None };
    let run = entry.run.as_deref();
    Some(End {
        outcome: outcome.clone(),
        worker: run.and_then(|run| run.worker.clone()),
        attempts: entry.attempts,
        delay: run.map(|run| run.delay).unwrap_or_default(),
        ran: run.and_then(|run| run.ran).unwrap_or_default(),
        cost: entry.cost,
        forget_at,
    })
}
