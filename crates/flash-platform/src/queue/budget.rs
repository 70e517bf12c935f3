//! Limits how many bytes of memory the jobs of a platform use, across worker types and releases.
//!
//! Each job has a [`Held`], which counts its memory until the job is forgotten and releases it on drop. New work is
//! refused if there is no room. Accepted work is not: a result is always stored, even if the sum is then over the
//! limit.
use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

/// The memory limit of all jobs on a machine with enough memory. A job takes about 600 bytes in addition to its data.
const LIMIT: usize = 2 << 30;

/// What the memory is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// A client's new job.
    Intake,
    /// Needs of an accepted job: its calls to other functions, its chunks. It may use an eighth more, so that a full
    /// platform can finish its work.
    Progress,
}

/// The bytes that jobs hold. Cheap to share; each change is one atomic operation.
#[derive(Debug, Clone)]
pub(crate) struct Budget {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    limit: usize,
    held: AtomicUsize,
    /// The size of the largest refused job since the last accepted one.
    wanted: AtomicUsize,
}

/// There is not enough room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the jobs of this environment use {} of {} MB (inputs, stored results, unfetched chunks)",
    held / 1_000_000,
    limit / 1_000_000
)]
pub(crate) struct BudgetExceeded {
    held: usize,
    limit: usize,
}

impl Default for Budget {
    fn default() -> Self {
        Self::of(machine_memory().map_or(LIMIT, |memory| LIMIT.min(memory / 2)))
    }
}

/// In bytes, if the system reports it.
#[cfg(target_os = "linux")]
fn machine_memory() -> Option<usize> {
    nix::sys::sysinfo::sysinfo().ok().and_then(|system| usize::try_from(system.ram_total()).ok())
}

#[cfg(not(target_os = "linux"))]
fn machine_memory() -> Option<usize> {
    None
}

impl Budget {
    /// A budget of this many bytes.
    pub(crate) fn of(limit: usize) -> Self {
        let shared = Shared { limit, held: AtomicUsize::new(0), wanted: AtomicUsize::new(0) };
        Self { shared: Arc::new(shared) }
    }

    /// What all jobs hold now.
    pub(crate) fn held(&self) -> usize {
        self.shared.held.load(Ordering::Relaxed)
    }

    /// The limit.
    pub(crate) fn limit(&self) -> usize {
        self.shared.limit
    }

    /// Room for something new.
    ///
    /// # Errors
    /// If there is not enough room.
    pub(super) fn try_hold(&self, bytes: usize, purpose: Purpose) -> Result<Held, BudgetExceeded> {
        let Shared { limit, held, wanted } = &*self.shared;
        let most = self.most(purpose);
        let fits = |held: usize| held.checked_add(bytes).filter(|sum| *sum <= most);
        match held.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits) {
            Ok(_) => {
                wanted.store(0, Ordering::Relaxed);
                Ok(Held { budget: Some(self.clone()), bytes })
            }
            Err(held) => {
                wanted.fetch_max(bytes, Ordering::Relaxed);
                Err(BudgetExceeded { held, limit: *limit })
            }
        }
    }

    /// Takes the memory, even if there is not enough room.
    pub(super) fn hold(&self, bytes: usize) -> Held {
        self.shared.held.fetch_add(bytes, Ordering::Relaxed);
        Held { budget: Some(self.clone()), bytes }
    }

    /// For a body that is being received, before its job exists.
    pub(crate) fn arriving(&self) -> Arriving {
        Arriving(self.hold(0))
    }

    /// Whether there is room for this much more.
    pub(super) fn has_room(&self, bytes: usize, purpose: Purpose) -> bool {
        self.held().saturating_add(bytes) <= self.most(purpose)
    }

    /// Whether half of it or more is in use: then nothing is kept that only might be looked at.
    pub(super) fn is_half_used(&self) -> bool {
        self.held() >= self.shared.limit / 2
    }

    /// Whether stored results should be dropped early: a job was refused and there is still no room for it. Being
    /// over the limit is no reason by itself, because stored data does no harm while no new work arrives.
    pub(super) fn is_short(&self) -> bool {
        let wanted = self.shared.wanted.load(Ordering::Relaxed);
        wanted > 0 && !self.has_room(wanted, Purpose::Intake)
    }

    fn most(&self, purpose: Purpose) -> usize {
        let limit = self.shared.limit;
        match purpose {
            Purpose::Intake => limit,
            Purpose::Progress => limit.saturating_add(limit / 8),
        }
    }
}

/// The part of a budget that one holder uses; released on drop. The default one has no budget yet.
#[derive(Debug, Default)]
pub(super) struct Held {
    budget: Option<Budget>,
    bytes: usize,
}

impl Held {
    /// It holds this much from now on.
    pub(super) fn set(&mut self, bytes: usize) {
        let before = std::mem::replace(&mut self.bytes, bytes);
        if bytes != before
            && let Some(budget) = &self.budget
        {
            let held = &budget.shared.held;
            match bytes.checked_sub(before) {
                Some(more) => held.fetch_add(more, Ordering::Relaxed),
                None => held.fetch_sub(before - bytes, Ordering::Relaxed),
            };
        }
    }

    /// It counts from now on, unless it did.
    pub(super) fn join(&mut self, budget: &Budget) {
        if self.budget.is_none() {
            *self = budget.hold(self.bytes);
        }
    }

    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.set(0);
    }
}

/// The memory of a body that is still being received, before its job exists.
#[derive(Debug)]
pub(crate) struct Arriving(Held);

impl Arriving {
    /// This many bytes have been received.
    ///
    /// # Errors
    /// If there is not enough room.
    pub(crate) fn grow_to(&mut self, bytes: usize) -> Result<(), BudgetExceeded> {
        let Self(held) = self;
        let Some(budget) = &held.budget else { return Ok(()) };
        let mut more = budget.try_hold(bytes.saturating_sub(held.bytes), Purpose::Intake)?;
        held.bytes += std::mem::take(&mut more.bytes);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_is_given_back_and_the_limit_is_for_what_is_new() {
        let budget = Budget::of(800);
        let mut first = budget.try_hold(500, Purpose::Intake).unwrap();
        let refused = budget.try_hold(301, Purpose::Intake).unwrap_err();
        assert_eq!((refused.held, refused.limit), (500, 800));
        assert!(budget.is_short(), "the refused one still has no room");
        let work = budget.try_hold(400, Purpose::Progress).unwrap();
        assert!(budget.try_hold(1, Purpose::Progress).is_err());
        // A result is taken whatever the sum is.
        first.set(2000);
        assert_eq!(budget.held(), 2400);
        drop((first, work));
        assert_eq!(budget.held(), 0);
        drop(budget.try_hold(800, Purpose::Intake).unwrap());
        assert!(!budget.is_short());
    }

    #[test]
    fn a_body_counts_as_it_comes_in_and_no_longer_than_it_is_there() {
        let budget = Budget::of(1000);
        let (mut one, mut other) = (budget.arriving(), budget.arriving());
        for bytes in [300, 300, 600] {
            one.grow_to(bytes).unwrap();
        }
        other.grow_to(400).unwrap();
        assert_eq!(budget.held(), 1000);
        assert!(other.grow_to(401).is_err());
        assert_eq!(budget.held(), 1000);
        drop(one);
        other.grow_to(1000).unwrap();
        drop(other);
        assert_eq!(budget.held(), 0);
    }

    #[test]
    fn what_was_found_in_the_store_counts_once_it_belongs_to_a_budget() {
        let budget = Budget::of(10);
        let mut held = Held::default();
        held.set(30);
        assert_eq!(budget.held(), 0);
        held.join(&budget);
        held.join(&budget);
        assert_eq!((budget.held(), budget.is_short()), (30, false));
        assert!(budget.try_hold(1, Purpose::Intake).is_err() && budget.is_short());
        drop(held);
        assert_eq!(budget.held(), 0);
    }
}
