//! One worker as its pool keeps it: its state, and how it is asked to stop.
use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use flash_protocol::ModelLoad;
use tokio::sync::watch;

use super::{
    crash::{Death, LONG_LIFE},
    liveness::Pulse,
    usage::Measured,
};
use crate::{
    app_metrics::Gauges,
    meter::Account,
    supervisor::{Output, Wait},
};

/// How long a release waits for a worker that is refused, or whose image does not come.
const IN_VAIN: Duration = Duration::from_secs(10);

/// The state of a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    Starting,
    Ready,
    Stopping,
}

/// How a worker is asked to stop. Later variants are stronger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd)]
pub(super) enum Stop {
    No,
    /// A normal stop: finish running work within the drain time.
    Drain,
    /// It holds a stopped job: as `Drain`, and if that does not help, `Now` follows soon.
    Terminate,
    /// Not requested: it closed its connection, so it is ending by itself or broken.
    HungUp,
    Now,
}

/// What a worker waits for before it can start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Waiting {
    pub wait: Wait,
    pub since: Instant,
}

impl Waiting {
    /// Waits for this, after it has waited for `before`: for as long, if it is of the same kind.
    pub(super) fn after(before: Option<&Self>, wait: Wait) -> Self {
        let is_same_kind =
            |before: &&Self| std::mem::discriminant(&before.wait) == std::mem::discriminant(&wait);
        let since = before.filter(is_same_kind).map_or_else(Instant::now, |before| before.since);
        Self { wait, since }
    }

    /// Others may free it, such as the workers that it replaces.
    pub(super) fn is_for_a_place(&self) -> bool {
        matches!(self.wait, Wait::Place(_))
    }

    /// Whether it has waited for anything else for so long that it may be in vain.
    pub(super) fn is_in_vain(&self) -> bool {
        !self.is_for_a_place() && self.since.elapsed() >= IN_VAIN
    }
}

/// What a worker does while it starts, in its words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Loading {
    pub text: String,
    /// When the log last said something about it.
    pub said_at: Instant,
}

/// One worker, as the pool keeps it.
pub(super) struct Worker {
    pub phase: Phase,
    pub account: Account,
    pub key: String,
    /// When its start began.
    pub started_at: Instant,
    pub pulse: Arc<Pulse>,
    pub output: Option<Output>,
    pub ready_at: Option<Instant>,
    /// When it got SIGTERM for holding a stopped job.
    pub terminated_at: Option<Instant>,
    /// It was killed because it was not ready in time.
    pub is_late: bool,
    /// What it waits for before it can start: a GPU, a place in the cluster.
    pub waits_for: Option<Waiting>,
    /// What it does while it starts, if it says so.
    pub loading: Option<Loading>,
    /// What its models have to do, by name.
    pub model_loads: BTreeMap<String, ModelLoad>,
    /// What it takes of the machine, if it is a process of it.
    pub measured: Option<Measured>,
    /// The app's own gauges.
    pub gauges: Gauges,
    stop: watch::Sender<Stop>,
}

impl Worker {
    /// A starting worker, and the channel that tells its process to stop.
    pub(super) fn new(key: String, account: Account) -> (Self, watch::Receiver<Stop>) {
        let (stop, stopped) = watch::channel(Stop::No);
        let worker = Self {
            phase: Phase::Starting,
            account,
            key,
            started_at: Instant::now(),
            is_late: false,
            waits_for: None,
            loading: None,
            model_loads: BTreeMap::new(),
            measured: None,
            gauges: Gauges::new(),
            pulse: Arc::new(Pulse::new()),
            output: None,
            ready_at: None,
            terminated_at: None,
            stop,
        };
        (worker, stopped)
    }

    /// `true` if this is stronger than what it was asked before.
    pub(super) fn ask_to_stop(&mut self, how: Stop) -> bool {
        // For queue and back-off, all other ends are crashes; these are requested.
        if matches!(how, Stop::Drain | Stop::Terminate) {
            self.phase = Phase::Stopping;
        }
        if how == Stop::Terminate {
            self.terminated_at.get_or_insert_with(Instant::now);
        }
        self.stop.send_if_modified(|stop| {
            let stronger = *stop < how;
            *stop = if stronger { how } else { *stop };
            stronger
        })
    }

    pub(super) fn is_being_killed(&self) -> bool {
        *self.stop.borrow() == Stop::Now
    }

    /// Whether it has been ready for long enough that its end would not count as a failed start.
    pub(super) fn has_long_life(&self, now: Instant) -> bool {
        self.ready_at.is_some_and(|ready| now.saturating_duration_since(ready) >= LONG_LIFE)
    }

    pub(super) fn death(&self, at_work: bool) -> Death {
        match self.ready_at {
            None => Death::Starting,
            Some(_) if self.pulse.has_served() || self.has_long_life(Instant::now()) => Death::Proven,
            Some(_) if at_work => Death::AtFirstWork,
            Some(_) => Death::Idle,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_that_a_worker_waited_for_a_place_is_none_that_it_waits_in_vain() {
        let long_ago = Instant::now().checked_sub(IN_VAIN * 2).unwrap();
        let place = Waiting { wait: Wait::Place("no node".to_owned()), since: long_ago };
        assert!(!place.is_in_vain());
        let image = Waiting::after(Some(&place), Wait::Other("no image".to_owned()));
        assert!(!image.is_in_vain());
        let image = Waiting { since: long_ago, ..image };
        assert!(Waiting::after(Some(&image), Wait::Other("still no image".to_owned())).is_in_vain());
    }
}
