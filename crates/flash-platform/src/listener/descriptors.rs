//! Shares the process's limit of open files among its listeners.
//!
//! A service runs several environments, each with a listener. A client that uses all connections of one does not
//! block the others: there is always a share left for one more listener. `flash run` has one listener, which gets
//! everything.
use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicUsize, Ordering},
};

use nix::sys::resource::{Resource, getrlimit, rlim_t, setrlimit};
use parking_lot::{Mutex, MutexGuard};
use tokio::{process::Command, sync::Notify};

/// The number of open files that this process requests; the system may allow fewer.
const WANTED: rlim_t = 65_536;
/// One for the connection, and one for its request to a worker.
const OF_A_CONNECTION: usize = 2;
/// Maximum number of connections of a listener.
const OF_A_LISTENER: usize = 10_000;

/// The limit of open files that this process was started with, where it was raised.
static STARTED_WITH: OnceLock<(rlim_t, rlim_t)> = OnceLock::new();

/// The connections that all listeners of this process may hold. Cheap to share.
#[derive(Clone)]
pub(crate) struct Descriptors(Arc<Mutex<Shares>>);

/// How many listeners a process has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listeners {
    /// Only one, which may use all connections.
    One,
    /// They come and go.
    Several,
}

struct Shares {
    listeners_to_come: usize,
    /// Connections that there may be.
    total: usize,
    /// The current number of connections.
    taken: usize,
    listeners: usize,
}

impl Descriptors {
    /// The connections of this process. Raises its limit of open files as far as the system allows and it makes
    /// sense.
    pub(crate) fn of_this_process(listeners: Listeners) -> Self {
        Self::new(connections_within(raise_limit()), listeners)
    }

    pub(super) fn new(total: usize, listeners: Listeners) -> Self {
        let listeners_to_come = match listeners {
            Listeners::One => 0,
            Listeners::Several => 1,
        };
        Self(Arc::new(Mutex::new(Shares { listeners_to_come, total, taken: 0, listeners: 0 })))
    }

    /// The share of one more listener.
    pub(crate) fn share(&self) -> ConnectionShare {
        self.lock().listeners += 1;
        let own = Own { held: AtomicUsize::new(0), freed: Notify::new() };
        ConnectionShare { all: self.clone(), own: Arc::new(own) }
    }

    fn lock(&self) -> MutexGuard<'_, Shares> {
        self.0.lock()
    }
}

/// The number of connections for this many open files. A quarter is reserved for everything else: stores, logs, pipes
/// of workers.
fn connections_within(files: rlim_t) -> usize {
    let files = usize::try_from(files).unwrap_or(usize::MAX);
    ((files - files / 4) / OF_A_CONNECTION).max(1)
}

/// How many of `total` connections each of this many listeners may use.
fn allowance(total: usize, listeners: usize) -> usize {
    (total / listeners.max(1)).clamp(1, OF_A_LISTENER)
}

/// The share of one listener.
pub struct ConnectionShare {
    all: Descriptors,
    own: Arc<Own>,
}

struct Own {
    held: AtomicUsize,
    freed: Notify,
}

impl ConnectionShare {
    /// A permit for one more connection, if there is one.
    pub(super) fn try_acquire(&self) -> Option<ConnectionPermit> {
        let mut shares = self.all.lock();
        let held = self.own.held.load(Ordering::Relaxed);
        let listeners = shares.listeners + shares.listeners_to_come;
        if held >= allowance(shares.total, listeners) || shares.taken >= shares.total {
            return None;
        }
        shares.taken += 1;
        self.own.held.store(held + 1, Ordering::Relaxed);
        Some(ConnectionPermit { all: self.all.clone(), own: self.own.clone() })
    }

    /// Waits until a permit may have become free, or [`ConnectionShare::wake`] was called.
    pub(super) async fn freed(&self) {
        self.own.freed.notified().await;
    }

    /// Wakes listeners that wait for a permit.
    pub(super) fn wake(&self) {
        self.own.freed.notify_one();
    }
}

impl Drop for ConnectionShare {
    fn drop(&mut self) {
        self.all.lock().listeners -= 1;
    }
}

/// The right to have one connection; free again when it is dropped.
pub(super) struct ConnectionPermit {
    all: Descriptors,
    own: Arc<Own>,
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        let mut shares = self.all.lock();
        shares.taken -= 1;
        self.own.held.fetch_sub(1, Ordering::Relaxed);
        drop(shares);
        self.own.freed.notify_one();
    }
}

/// Raises the limit of open files and returns the new limit.
fn raise_limit() -> rlim_t {
    // If it cannot be read, the lowest common limit.
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else { return 256 };
    let wanted = WANTED.min(hard);
    if soft >= wanted || setrlimit(Resource::RLIMIT_NOFILE, wanted, hard).is_err() {
        return soft;
    }
    // Concurrent calls set the same value.
    let _ = STARTED_WITH.set((soft, hard));
    wanted
}

/// Sets the limit of open files of a child to the one that this process started with. Some programs iterate over all
/// numbers up to the limit, or cannot use higher ones.
pub(crate) fn restore_limit(command: &mut Command) {
    let Some((soft, hard)) = STARTED_WITH.get().copied() else { return };
    // SAFETY: between fork and exec only setrlimit is called, which is async-signal-safe; nothing is allocated.
    unsafe {
        command.pre_exec(move || Ok(setrlimit(Resource::RLIMIT_NOFILE, soft, hard)?));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fill(share: &ConnectionShare) -> Vec<ConnectionPermit> {
        std::iter::from_fn(|| share.try_acquire()).collect()
    }

    #[test]
    fn one_listener_cannot_take_what_another_needs() {
        let all = Descriptors::new(120, Listeners::Several);
        let first = all.share();
        let of_first = fill(&first);
        assert_eq!(of_first.len(), 60, "half of it is for the next");
        let second = all.share();
        assert_eq!(fill(&second).len(), 40);
        assert!(first.try_acquire().is_none());
        drop(of_first);
        assert_eq!(fill(&first).len(), 40);
        drop(second);
        assert_eq!(fill(&first).len(), 60);
    }

    #[test]
    fn together_they_never_hold_more_than_there_is() {
        let all = Descriptors::new(10, Listeners::Several);
        let shares: Vec<ConnectionShare> = (0..8).map(|_| all.share()).collect();
        let places: Vec<Vec<ConnectionPermit>> = shares.iter().map(fill).collect();
        assert!(places.iter().all(|own| own.len() == 1));
        let more: Vec<ConnectionShare> = (0..8).map(|_| all.share()).collect();
        let held: Vec<Vec<ConnectionPermit>> = more.iter().map(fill).collect();
        assert_eq!(held.iter().map(Vec::len).sum::<usize>(), 2);
    }

    #[test]
    fn a_quarter_of_the_open_files_is_for_all_else() {
        assert_eq!(connections_within(65_536), 24_576);
        assert_eq!(connections_within(1024), 384);
        assert_eq!(connections_within(0), 1);
        assert_eq!(allowance(24_576, 1), 10_000);
        assert_eq!(allowance(24_576, 6), 4096);
    }

    #[tokio::test]
    async fn a_place_that_becomes_free_is_told() {
        let all = Descriptors::new(1, Listeners::One);
        let share = all.share();
        let permit = share.try_acquire().unwrap();
        assert!(share.try_acquire().is_none());
        drop(permit);
        share.freed().await;
        assert!(share.try_acquire().is_some());
    }
}
