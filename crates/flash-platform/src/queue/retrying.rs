//! Whether a job runs again after an error of its function, and when.
//!
//! Only errors that say so lead to another attempt. The death of a worker is another matter: see
//! [`lost`](super::lost).
use std::{
    hash::{BuildHasher as _, BuildHasherDefault, DefaultHasher},
    time::Duration,
};

use flash_protocol::{Retries, WireError, wire::job::ErrorText};

use super::{endpoint_queue::Queue, id::JobId, job::Entry, settings::QueueSettings, state::Outcome};

/// The error of an attempt, if another one may follow it.
pub(super) fn retryable(outcome: &Outcome) -> Option<WireError> {
    match outcome {
        Outcome::Failed(text) => Some(ErrorText::parse(text)).filter(WireError::is_retryable),
        _ => None,
    }
}

/// How long the job, whose attempt has failed, waits for the next one; `None` if there is none: it has had all, too
/// little time is left, or a client may have read a part of its stream.
pub(super) fn wait_before_next(id: JobId, entry: &Entry, settings: &QueueSettings) -> Option<Duration> {
    let own = entry.envelope.function.as_deref().and_then(|name| settings.limits.retries.get(name));
    let retries = Retries::chosen(own.copied(), entry.envelope.retries)?;
    if entry.run.as_ref().is_some_and(|run| run.chunks.taken() > 0) {
        return None;
    }
    let failed = entry.failures + 1;
    let wait = retries.wait_after(failed, jitter(id, failed))?;
    let in_time = settings.clock.now().after(wait) < entry.expires_at;
    let wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
    let is_awaited = |deadline| settings.clock.wall_millis().saturating_add(wait_ms) < deadline;
    (in_time && entry.envelope.deadline_ms.is_none_or(is_awaited)).then_some(wait)
}

/// From 0 to 1, different for each attempt of each job.
fn jitter(id: JobId, failed: u32) -> f64 {
    let hash = BuildHasherDefault::<DefaultHasher>::default().hash_one((id, failed));
    #[expect(clippy::cast_precision_loss, reason = "any number in the range is as good")]
    let share = hash as f64 / u64::MAX as f64;
    share
}

impl Queue {
    /// How long until the next attempt of a job is due; `None` if no job waits for one.
    pub(crate) fn next_attempt_in(&self) -> Option<Duration> {
        let next = self.lock().jobs.delayed.next()?;
        Some(next.since(self.settings.clock.now()))
    }
}
