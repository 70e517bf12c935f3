//! The releases of a platform, by what they are at the moment: live, starting, replaced, or torn down before they were
//! live.
//!
//! It holds them and finds them, and knows the keys of their workers. When they change places is decided in
//! `lifecycle`.
use std::{collections::VecDeque, sync::Arc};

use arc_swap::ArcSwapOption;
use parking_lot::Mutex;

use super::{pool::Pool, release::Release};

/// Old releases whose results are still available.
const KEPT_RELEASES: usize = 20;

/// See the module.
#[derive(Default)]
pub(crate) struct Releases {
    live: ArcSwapOption<Release>,
    /// Releases that drain or have ended, the latest first.
    past: Mutex<VecDeque<Arc<Release>>>,
    /// The release whose workers are starting next to the live one.
    starting: Mutex<Option<Arc<Release>>>,
    /// Those that did not go live, until their workers have ended.
    torn_down: Mutex<Vec<Arc<Release>>>,
    expected: Mutex<Expected>,
}

/// What will be live while nothing is. Requests get that answer meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Expected {
    /// Nothing, until somebody deploys.
    #[default]
    Nothing,
    /// A release that was live before the platform started, and is being restored.
    Restored,
}

impl Releases {
    /// The live release.
    pub(crate) fn live(&self) -> Option<Arc<Release>> {
        self.live.load_full()
    }

    /// Releases that drain or have ended, the latest first.
    pub(crate) fn past(&self) -> Vec<Arc<Release>> {
        self.past.lock().iter().cloned().collect()
    }

    /// The live release, then those before it, the latest first.
    pub(crate) fn live_and_past(&self) -> Vec<Arc<Release>> {
        let past = self.past.lock();
        self.live().into_iter().chain(past.iter().cloned()).collect()
    }

    /// Like [`Releases::live_and_past`], plus the release that is starting.
    pub(crate) fn open(&self) -> Vec<Arc<Release>> {
        let starting = self.starting.lock().clone();
        self.live_and_past().into_iter().chain(starting).collect()
    }

    /// Like [`Releases::open`], plus those that are ending: all that may still have workers.
    pub(crate) fn all(&self) -> Vec<Arc<Release>> {
        let torn_down = self.torn_down.lock().clone();
        self.open().into_iter().chain(torn_down).collect()
    }

    /// The release that this pool belongs to.
    pub(crate) fn with_pool(&self, pool: &Arc<Pool>) -> Option<Arc<Release>> {
        let own = |release: &Arc<Release>| release.pools().any(|own| Arc::ptr_eq(own, pool));
        self.live().filter(own).or_else(|| self.all().into_iter().find(own))
    }

    /// The pools of a worker type whose workers may send requests.
    pub(crate) fn worker_pools(&self, worker_type: &str) -> Vec<Arc<Pool>> {
        self.all().iter().filter_map(|release| release.pool(worker_type).cloned()).collect()
    }

    /// Whether this is the key of any worker.
    pub(crate) fn is_key_of_a_worker(&self, key: &str) -> bool {
        self.all().iter().any(|release| release.pools().any(|pool| pool.has_key(key)))
    }

    /// Whether a release is starting.
    pub(crate) fn is_starting(&self) -> bool {
        self.starting.lock().is_some()
    }

    /// What will be live while nothing is.
    pub(crate) fn expected(&self) -> Expected {
        *self.expected.lock()
    }

    pub(crate) fn expect(&self, expected: Expected) {
        *self.expected.lock() = expected;
    }

    pub(crate) fn set_starting(&self, release: Option<Arc<Release>>) {
        *self.starting.lock() = release;
    }

    /// Moves the traffic, to a release or to nothing. At any moment, the old release can be found in one place or the
    /// other.
    pub(crate) fn go_live(&self, release: Option<Arc<Release>>) -> Option<Arc<Release>> {
        let mut past = self.past.lock();
        let old = self.live.swap(release);
        if let Some(old) = &old {
            past.push_front(old.clone());
        }
        old
    }

    /// Adds a release that was replaced earlier.
    pub(crate) fn add_past(&self, release: Arc<Release>) {
        self.past.lock().push_front(release);
    }

    /// Drops ended releases: at once if nothing is left in them, otherwise the oldest.
    pub(crate) fn forget_ended(&self) {
        let mut past = self.past.lock();
        past.retain(|release| !release.is_over() || release.has_jobs());
        while past.len() > KEPT_RELEASES
            && let Some(oldest) = past.iter().rposition(|release| release.is_over())
        {
            past.remove(oldest);
        }
    }

    /// Keeps one that did not go live, until [`Releases::forget_torn_down`].
    pub(crate) fn tear_down(&self, release: Arc<Release>) {
        self.torn_down.lock().push(release);
    }

    pub(crate) fn forget_torn_down(&self, release: &Arc<Release>) {
        self.torn_down.lock().retain(|own| !Arc::ptr_eq(own, release));
    }
}
