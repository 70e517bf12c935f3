//! Guards against jobs that may have killed the previous platform, for example by using all memory of the machine.
//!
//! The store does not record which jobs run, so after an unclean end every stored waiting job may be the cause. Each
//! gets a durable mark before it goes to a worker. If the next platform finds the mark, the job was running when the
//! platform died. A job with such a loss then runs only while no other job runs in any queue of the platform, so that
//! the next death is certainly its own. After [`MAX_LOSSES`] it is dead. Later jobs need no mark, and after a clean
//! end none do.
//!
//! A job without its mark waits and counts in its queue, but cannot be taken from it. The owner of the queue has marks
//! written with [`Queue::feed`](super::Queue::feed), for as many jobs as the workers have slots.
use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use flash_protocol::{ErrorKind, WireError, wire::job::ErrorText};

use super::state::JobEvent;

/// How many deaths of the platform a job may be running at, in addition to the first one, which nobody observed. For
/// three of them no other suspect ran; a single one may be a `kill -9`.
pub(super) const MAX_LOSSES: u32 = LONE_FROM + 3;
/// From this many on, no other such job runs at the same time.
pub(super) const LONE_FROM: u32 = 2;

/// Whether a job may be handed out.
#[derive(Debug, Default)]
pub(super) enum Guard {
    /// The platform never died of it.
    #[default]
    Free,
    /// It may have, and its mark is not durable.
    Unmarked,
    /// It has its mark. Where it must be the only one that runs, it is its turn.
    Marked { _permit: Option<SuspectPermit> },
}

impl Guard {
    pub(super) fn is_unmarked(&self) -> bool {
        matches!(self, Self::Unmarked)
    }
}

/// The turn of suspects that may have killed the previous platform: one at a time in all queues, so that the next
/// death identifies the cause. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(super) struct SuspectLock(Arc<AtomicBool>);

/// The right to be the one. Given back on drop.
#[derive(Debug)]
pub(super) struct SuspectPermit(Arc<AtomicBool>);

impl SuspectLock {
    /// `None` while another job has it.
    pub(super) fn try_acquire(&self) -> Option<SuspectPermit> {
        (!self.0.swap(true, Ordering::AcqRel)).then(|| SuspectPermit(self.0.clone()))
    }
}

impl Drop for SuspectPermit {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

/// The end of a job that was running each time the platform died.
pub(super) fn platform_died(losses: u32) -> JobEvent {
    let message = format!(
        "the platform died {losses} times while this job was running, the last 3 times with no other job that \
         could be the cause: the job probably needs more memory than the machine has; run it where worker \
         limits apply (check with `flash doctor`) or on a larger machine, then requeue it"
    );
    let error = WireError::new(ErrorKind::NoWorker, message);
    JobEvent::Died(ErrorText::of(&error, "platform").to_text())
}
