//! The state machine of a job as a pure function: no I/O, no clock, no locks.
use std::borrow::Cow;

use flash_protocol::wire::{Payload, RawJson, job::JobStatus};
use serde_json::value::RawValue;

use super::clock::Timestamp;
use crate::worker_id::WorkerId;

/// Which attempt of a job, from 1. A result that names another attempt than the current one is late.
pub(super) type Attempt = u32;

/// A worker's right to finish a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Lease {
    /// The lease holder.
    pub worker: WorkerId,
    /// For which attempt.
    pub attempt: Attempt,
}

/// How a job ended.
#[derive(Debug, Clone)]
pub(crate) enum Outcome {
    Completed(Payload),
    /// With the error's text.
    Failed(String),
    /// With the error's text and the output that the worker returned with it.
    FailedWith(String, RawJson),
    /// It killed its worker on every attempt, or the platform again and again. Clients see a failed job. With the error's
    /// text.
    Dead(String),
    Cancelled,
    /// With the error's text.
    TimedOut(String),
}

impl Outcome {
    /// The error's text.
    pub(super) fn error(&self) -> Option<&str> {
        match self {
            Self::Failed(text) | Self::FailedWith(text, _) | Self::Dead(text) | Self::TimedOut(text) => {
                Some(text)
            }
            Self::Completed(_) | Self::Cancelled => None,
        }
    }

    /// The result, or the output returned with an error.
    pub(super) fn output(&self) -> Option<Cow<'_, RawValue>> {
        match self {
            Self::Completed(output) => Some(output.to_json()),
            Self::FailedWith(_, output) => Some(Cow::Borrowed(output)),
            Self::Failed(_) | Self::Dead(_) | Self::Cancelled | Self::TimedOut(_) => None,
        }
    }

    /// The memory of [`Outcome::error`] and [`Outcome::output`], in bytes.
    pub(super) fn weight(&self) -> usize {
        let output = match self {
            Self::Completed(output) => output.weight(),
            Self::FailedWith(_, output) => output.get().len(),
            Self::Failed(_) | Self::Dead(_) | Self::Cancelled | Self::TimedOut(_) => 0,
        };
        self.error().map_or(0, str::len) + output
    }

    /// As clients see it.
    pub(super) fn status(&self) -> JobStatus {
        match self {
            Self::Completed(_) => JobStatus::Completed,
            Self::Failed(_) | Self::FailedWith(..) | Self::Dead(_) => JobStatus::Failed,
            Self::Cancelled => JobStatus::Cancelled,
            Self::TimedOut(_) => JobStatus::TimedOut,
        }
    }
}

/// Where a job is in its life.
#[derive(Debug)]
pub(super) enum JobState {
    /// Waits for a worker. `attempts` were made before, including those before a retry: numbers are never reused, so
    /// that a late result can be recognised.
    Queued { attempts: Attempt },
    /// An attempt failed with an error that allows another one, which begins no earlier than `until`. `attempts` as
    /// above.
    Delayed { attempts: Attempt, until: Timestamp },
    /// A worker has it.
    Running(Lease),
    /// It will not change, except by a client's retry.
    Done(Outcome),
}

/// What happens to a job.
#[derive(Debug)]
pub(super) enum JobEvent {
    /// A worker takes it.
    Leased(Lease),
    /// The holder of this lease reports the end.
    Finished { lease: Lease, outcome: Outcome },
    /// The holder of this lease reports an error after which it runs again, from this time on.
    Postponed { lease: Lease, until: Timestamp },
    /// The time of its next attempt has come.
    Due,
    /// The worker has ended, and another attempt is allowed.
    Lost,
    /// The worker has ended at the last attempt, or the platform has died too often. With the error's text.
    Died(String),
    /// Nothing can run it. With the error's text.
    GivenUp(String),
    /// A client cancels it.
    Cancelled,
    /// It ran or waited longer than it may. With the error's text.
    TimedOut(String),
    /// A client retries a failed job, after this many attempts.
    Retried { attempts: Attempt },
}

/// The event does not apply to the state: a late worker or client.
#[derive(Debug)]
pub(super) struct IllegalTransition;

/// The only road between states.
///
/// # Errors
/// The unchanged state, for an event that does not apply.
pub(super) fn step(state: JobState, event: JobEvent) -> Result<JobState, (JobState, IllegalTransition)> {
    use JobEvent as E;
    use JobState as S;
    match (state, event) {
        (S::Queued { attempts }, E::Leased(lease)) if lease.attempt == attempts + 1 => Ok(S::Running(lease)),
        (S::Running(holder), E::Finished { lease, outcome }) if holder == lease => Ok(S::Done(outcome)),
        (S::Running(holder), E::Postponed { lease, until }) if holder == lease => {
            Ok(S::Delayed { attempts: holder.attempt, until })
        }
        (S::Delayed { attempts, .. }, E::Due) => Ok(S::Queued { attempts }),
        (S::Running(lease), E::Lost) => Ok(S::Queued { attempts: lease.attempt }),
        (S::Queued { .. } | S::Delayed { .. } | S::Running(_), E::Died(error)) => {
            Ok(S::Done(Outcome::Dead(error)))
        }
        (S::Queued { .. } | S::Delayed { .. } | S::Running(_), E::Cancelled) => {
            Ok(S::Done(Outcome::Cancelled))
        }
        (S::Queued { .. } | S::Delayed { .. } | S::Running(_), E::TimedOut(error)) => {
            Ok(S::Done(Outcome::TimedOut(error)))
        }
        (S::Queued { .. } | S::Delayed { .. }, E::GivenUp(error)) => Ok(S::Done(Outcome::Failed(error))),
        (S::Done(outcome), E::Retried { attempts }) if outcome.error().is_some() => {
            Ok(S::Queued { attempts })
        }
        (state, _) => Err((state, IllegalTransition)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease(worker: &str, attempt: Attempt) -> Lease {
        Lease { worker: worker.into(), attempt }
    }

    fn completed() -> Outcome {
        Outcome::Completed(Payload::null())
    }

    #[test]
    fn a_job_runs_and_completes() {
        let running = step(JobState::Queued { attempts: 0 }, JobEvent::Leased(lease("w", 1))).unwrap();
        let done = step(running, JobEvent::Finished { lease: lease("w", 1), outcome: completed() }).unwrap();
        assert!(matches!(done, JobState::Done(Outcome::Completed(_))));
    }

    #[test]
    fn a_late_result_of_a_lost_attempt_is_refused() {
        let queued = step(JobState::Running(lease("w", 1)), JobEvent::Lost).unwrap();
        let running = step(queued, JobEvent::Leased(lease("v", 2))).unwrap();
        for late in [lease("w", 1), lease("w", 2), lease("v", 1)] {
            let late = JobEvent::Finished { lease: late, outcome: completed() };
            let state = JobState::Running(lease("v", 2));
            assert!(matches!(step(state, late), Err((JobState::Running(_), IllegalTransition))));
        }
        assert!(matches!(running, JobState::Running(Lease { attempt: 2, .. })));
    }

    #[test]
    fn a_failed_attempt_is_followed_by_a_wait_and_another_attempt() {
        let until = Timestamp(7);
        let failed = |lease| JobEvent::Postponed { lease, until };
        let delayed = step(JobState::Running(lease("w", 1)), failed(lease("w", 1))).unwrap();
        assert!(matches!(delayed, JobState::Delayed { attempts: 1, until: Timestamp(7) }));
        let queued = step(delayed, JobEvent::Due).unwrap();
        let running = step(queued, JobEvent::Leased(lease("v", 2))).unwrap();
        assert!(matches!(running, JobState::Running(Lease { attempt: 2, .. })));
        // What is late, or comes from another worker, changes nothing.
        for late in [lease("w", 1), lease("w", 2), lease("v", 1)] {
            assert!(step(JobState::Running(lease("v", 2)), failed(late)).is_err());
        }
    }

    #[test]
    fn each_event_applies_to_a_delayed_job_or_leaves_it_as_it_is() {
        let text = String::new;
        let table: [(JobEvent, Option<&str>); 10] = [
            (JobEvent::Leased(lease("w", 2)), None),
            (JobEvent::Finished { lease: lease("w", 1), outcome: completed() }, None),
            (JobEvent::Postponed { lease: lease("w", 1), until: Timestamp(8) }, None),
            (JobEvent::Due, Some("Queued")),
            (JobEvent::Lost, None),
            (JobEvent::Died(text()), Some("Done(Dead")),
            (JobEvent::GivenUp(text()), Some("Done(Failed")),
            (JobEvent::Cancelled, Some("Done(Cancelled")),
            (JobEvent::TimedOut(text()), Some("Done(TimedOut")),
            (JobEvent::Retried { attempts: 1 }, None),
        ];
        for (event, expected) in table {
            let shown = format!("{event:?}");
            match (step(JobState::Delayed { attempts: 1, until: Timestamp(7) }, event), expected) {
                (Ok(next), Some(name)) => {
                    assert!(format!("{next:?}").starts_with(name), "{shown} leads to {next:?}");
                }
                (Err((JobState::Delayed { attempts: 1, until: Timestamp(7) }, _)), None) => {}
                (other, expected) => panic!("{shown}: {other:?} instead of {expected:?}"),
            }
        }
        for state in
            [JobState::Queued { attempts: 0 }, JobState::Running(lease("w", 1)), JobState::Done(completed())]
        {
            assert!(step(state, JobEvent::Due).is_err(), "only a delayed job becomes due");
        }
    }

    #[test]
    fn an_ended_job_stays_as_it_is() {
        for event in [
            JobEvent::Cancelled,
            JobEvent::Lost,
            JobEvent::TimedOut(String::new()),
            JobEvent::Retried { attempts: 1 },
        ] {
            assert!(step(JobState::Done(completed()), event).is_err());
        }
        let retried = step(JobState::Done(Outcome::Failed("x".into())), JobEvent::Retried { attempts: 2 });
        assert!(matches!(retried, Ok(JobState::Queued { attempts: 2 })));
    }
}
