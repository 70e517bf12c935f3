//! What is stored: a job as submitted, and its outcome.
use flash_protocol::{
    catalogue::NanoDollars,
    wire::{RawJson, envelope::Envelope},
};

use super::{
    super::{
        Timestamp, WorkerId,
        budget::Held,
        clock::Mark,
        guard::Guard,
        id::JobId,
        job::{Entry, Extras, Origin, Run},
        jobs::QueueSettings,
        state::{JobState, Outcome},
    },
    Seq, Ticket,
};

/// A job as it is stored while it waits or runs.
///
/// Running is not stored: the worker dies with the platform, so the next platform finds the job waiting.
pub(in super::super) struct Record {
    pub seq: Seq,
    pub endpoint: std::sync::Arc<str>,
    pub id: JobId,
    pub sync_origin: bool,
    pub submitted_at: Timestamp,
    pub expires_at: Timestamp,
    pub execution_timeout: std::time::Duration,
    pub ttl: std::time::Duration,
    pub low_priority: bool,
    pub attempts: u32,
    pub attempts_before: u32,
    /// The cost of attempts before it last waited, or of a stopped attempt after its end.
    pub cost: NanoDollars,
    pub envelope: Envelope,
    pub extras: Option<Extras>,
    pub input: RawJson,
    /// The release that accepted it; 0 where that is unknown.
    pub release: u64,
}

/// A job as it is found in the store.
pub(in super::super) struct Stored {
    pub endpoint: std::sync::Arc<str>,
    /// As in [`Record`].
    pub release: u64,
    pub id: JobId,
    pub entry: Box<Entry>,
}

/// A job that cannot be read.
#[derive(Debug, PartialEq, Eq)]
pub(in super::super) struct Damaged {
    pub seq: Seq,
    pub problem: String,
    /// All that is stored of it, as JSON.
    pub rows: String,
}

/// How a job ended.
pub(in super::super) struct End {
    pub outcome: Outcome,
    pub worker: Option<WorkerId>,
    pub attempts: u32,
    pub delay: std::time::Duration,
    pub ran: std::time::Duration,
    /// Of all attempts.
    pub cost: NanoDollars,
    pub forget_at: Timestamp,
}

/// One write.
pub(in super::super) enum Change {
    /// A job was accepted.
    Accepted(Box<Record>),
    /// It waits again after this many attempts, some of which do not count.
    Requeued { seq: Seq, attempts: u32, attempts_before: u32, expires_at: Timestamp, cost: NanoDollars },
    /// It ended.
    Ended { seq: Seq, end: Box<End> },
    /// It has cost this much, and ended before.
    Charged { seq: Seq, cost: NanoDollars },
    /// It continues in another release.
    Moved { seq: Seq, release: u64 },
    /// Its webhook was delivered or given up.
    Delivered { seq: Seq },
    /// It is deleted.
    Forgotten { seq: Seq },
    /// A worker may get it from now on. It is a suspect for this many deaths of the platform.
    Marked { seq: Seq, losses: u32 },
    /// The platform has not died because of it.
    Cleared { seq: Seq },
    /// It cannot be read.
    SetAside(Damaged),
    /// A platform opens the store.
    Opened(Mark),
    /// The platform looked at the clock.
    Time(Mark),
    /// The platform ends by itself.
    Closed,
}

impl Record {
    /// What to store of a job.
    pub(in super::super) fn of(seq: Seq, settings: &QueueSettings, id: JobId, entry: &Entry) -> Self {
        Self {
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
            cost: entry.cost,
            envelope: entry.envelope.clone(),
            extras: entry.extras.as_deref().cloned(),
            input: entry.input.clone(),
        }
    }

    /// The job as the next platform has it.
    pub(in super::super) fn into_entry(self, end: Option<End>) -> (JobId, Box<Entry>) {
        let mut entry = Entry {
            state: JobState::Queued { attempts: self.attempts },
            input: self.input,
            envelope: self.envelope,
            origin: if self.sync_origin { Origin::RunSync } else { Origin::Run },
            low_priority: self.low_priority,
            // Its workers died, or lost it: which of the two is not stored.
            suspect: self.attempts > self.attempts_before,
            losses: 0,
            guard: Guard::Free,
            execution_timeout: self.execution_timeout,
            ttl: self.ttl,
            submitted_at: self.submitted_at,
            queued_at: self.submitted_at,
            expires_at: self.expires_at,
            attempts: self.attempts,
            attempts_before: self.attempts_before,
            cost: self.cost,
            record: Some(self.seq),
            ticket: Ticket::default(),
            timer: self.expires_at,
            delivered: false,
            waiters: Vec::new(),
            extras: self.extras.map(Box::new),
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
        (self.id, Box::new(entry))
    }
}

impl End {
    /// What to store of a job that has ended; `None` for one that has not.
    pub(in super::super) fn of(entry: &Entry, forget_at: Timestamp) -> Option<Self> {
        let JobState::Done(outcome) = &entry.state else { return None };
        let run = entry.run.as_deref();
        Some(Self {
            outcome: outcome.clone(),
            worker: run.and_then(|run| run.worker.clone()),
            attempts: entry.attempts,
            delay: run.map(|run| run.delay).unwrap_or_default(),
            ran: run.and_then(|run| run.ran).unwrap_or_default(),
            cost: entry.cost,
            forget_at,
        })
    }
}
