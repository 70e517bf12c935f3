//! Detects workers that exist but no longer respond: stopped, swapped out, or deadlocked.
//!
//! It only applies to workers that have pinged before or are known to ping: other programs need not ping.
use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    time::{Duration, Instant},
};

/// A gap between two checks longer than this means that the platform itself was stopped.
const PAUSE: Duration = Duration::from_secs(1);

/// Signs of life of one worker. Written for each frame and request, therefore without a lock.
pub(crate) struct Pulse {
    since: Instant,
    /// Milliseconds after `since`.
    heard: AtomicU64,
    /// Whether its silence counts.
    pings: AtomicBool,
    served: AtomicBool,
}

impl Pulse {
    pub(super) fn new() -> Self {
        Self {
            since: Instant::now(),
            heard: AtomicU64::new(0),
            pings: AtomicBool::new(false),
            served: AtomicBool::new(false),
        }
    }

    /// It sent something.
    pub(crate) fn heard(&self) {
        let now = u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.heard.store(now, Ordering::Relaxed);
    }

    /// It pinged or is known to ping, so from now on its silence counts.
    pub(crate) fn pings(&self) {
        self.heard();
        self.pings.store(true, Ordering::Relaxed);
    }

    /// It finished work; `true` for the first time.
    pub(super) fn served(&self) -> bool {
        // Asked first: after the first time nothing is written.
        !self.has_served() && !self.served.swap(true, Ordering::Relaxed)
    }

    /// Whether it ever finished work.
    pub(super) fn has_served(&self) -> bool {
        self.served.load(Ordering::Relaxed)
    }

    /// When it was last heard from, if its silence counts.
    fn last(&self) -> Option<Instant> {
        let heard = || self.since + Duration::from_millis(self.heard.load(Ordering::Relaxed));
        self.pings.load(Ordering::Relaxed).then(heard)
    }
}

/// Judges silence, looked at again and again by the pool's loop.
pub(super) struct SilenceWatch {
    /// How long a worker may be silent; `None` for no limit.
    limit: Option<Duration>,
    looked: Instant,
    /// Silence before this does not count.
    awake_since: Instant,
}

impl SilenceWatch {
    pub(super) fn new(limit: Option<Duration>, now: Instant) -> Self {
        Self { limit, looked: now, awake_since: now }
    }

    /// Another check. After a gap (the machine slept, the platform was stopped), all silence is ignored, because
    /// pings could not arrive.
    pub(super) fn check(&mut self, now: Instant) {
        if now.saturating_duration_since(self.looked) > PAUSE {
            self.awake_since = now;
        }
        self.looked = now;
    }

    /// How long a worker has been silent, if that is too long.
    pub(super) fn too_silent(&self, pulse: &Pulse) -> Option<Duration> {
        let last = pulse.last()?.max(self.awake_since);
        let silent = self.looked.saturating_duration_since(last);
        (silent >= self.limit?).then_some(silent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn checks(watch: &mut SilenceWatch, from: Instant, seconds: u32) -> Instant {
        let tenths = (1..=seconds * 10).map(|tenth| from + tenth * SECOND / 10);
        tenths.inspect(|now| watch.check(*now)).last().unwrap_or(from)
    }

    #[test]
    fn a_worker_that_pinged_and_fell_silent_is_found_and_one_that_never_pinged_is_not() {
        let (pings, never) = (Pulse::new(), Pulse::new());
        pings.pings();
        never.heard();
        let start = Instant::now();
        let mut watch = SilenceWatch::new(Some(15 * SECOND), start);
        let now = checks(&mut watch, start, 14);
        assert_eq!(watch.too_silent(&pings), None);
        checks(&mut watch, now, 2);
        assert!(watch.too_silent(&pings) >= Some(15 * SECOND));
        assert_eq!(watch.too_silent(&never), None);
    }

    #[test]
    fn silence_while_the_platform_itself_stood_still_is_forgiven() {
        let pulse = Pulse::new();
        pulse.pings();
        let start = Instant::now();
        let mut watch = SilenceWatch::new(Some(15 * SECOND), start);
        let asleep = checks(&mut watch, start, 10) + 3600 * SECOND;
        watch.check(asleep);
        assert_eq!(watch.too_silent(&pulse), None);
        let now = checks(&mut watch, asleep, 14);
        assert_eq!(watch.too_silent(&pulse), None, "it gets the whole limit anew");
        checks(&mut watch, now, 2);
        assert!(watch.too_silent(&pulse).is_some());
    }

    #[test]
    fn without_a_limit_nobody_is_judged() {
        let pulse = Pulse::new();
        pulse.pings();
        let start = Instant::now();
        let mut watch = SilenceWatch::new(None, start);
        checks(&mut watch, start, 600);
        assert_eq!(watch.too_silent(&pulse), None);
    }
}
