//! What is stored: a job as submitted, and its outcome.
use flash_protocol::{
    catalogue::NanoDollars,
    wire::{Payload, envelope::Envelope},
};

use super::super::{
    clock::{Mark, Timestamp},
    extras::Extras,
    id::JobId,
    state::Outcome,
    ticket::Seq,
};
use crate::worker_id::WorkerId;

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
    pub failures: u32,
    /// When its next attempt may begin, after one that failed. Past once that has begun, because running is not
    /// stored.
    pub not_before: Option<Timestamp>,
    /// The cost of attempts before it last waited, or of a stopped attempt after its end.
    pub cost: NanoDollars,
    pub envelope: Envelope,
    pub extras: Option<Extras>,
    pub input: Payload,
    /// The release that accepted it; 0 where that is unknown.
    pub release: u64,
}

/// A job as it is found in the store.
pub(in super::super) struct Found {
    pub record: Record,
    /// How it ended, if it has.
    pub end: Option<End>,
    /// Its webhook was delivered.
    pub delivered: bool,
    /// How often the platform died while it was running.
    pub losses: u32,
    /// The last platform did not end by itself, so this job may be the cause if it waits.
    pub after_unclean_end: bool,
}

/// A job that cannot be read.
#[derive(Debug, PartialEq, Eq)]
pub(in super::super) struct Damaged {
    pub seq: Seq,
    pub problem: String,
    /// All that is stored of it, as JSON.
    pub rows: String,
}

/// The state of a function's schedule. The store does not read it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StoredSchedule {
    pub function: String,
    /// JSON.
    pub state: String,
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
    Requeued {
        seq: Seq,
        attempts: u32,
        attempts_before: u32,
        failures: u32,
        not_before: Option<Timestamp>,
        expires_at: Timestamp,
        cost: NanoDollars,
    },
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
    /// The state of a schedule, as its owner writes it.
    Schedule(StoredSchedule),
    /// A platform opens the store.
    Opened(Mark),
    /// The platform looked at the clock.
    Time(Mark),
    /// The platform ends by itself.
    Closed,
}
