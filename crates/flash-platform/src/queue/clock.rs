//! The queue's time: comparable across restarts, and never going back.
//!
//! Jobs are deleted when they expire, so a wrong clock must not expire them early. Within a process, time is
//! monotonic. Between two processes it is the time since boot, if the machine has not restarted. Across a reboot,
//! only the wall clock is left, which may be wrong, so at most a few minutes are counted. Deleting a job late does no
//! harm.
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Microseconds, since 1970 by the clock of the platform that first had the store.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Timestamp(pub u64);

impl Timestamp {
    /// How long ago `earlier` was; nothing for one in the future.
    pub(super) fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }

    /// This much later.
    pub(super) fn after(self, time: Duration) -> Self {
        Self(self.0.saturating_add(micros(time)))
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// The maximum time that counts for a reboot, whatever the clock says afterwards.
const LONGEST_OFF: Duration = Duration::from_secs(10 * 60);

/// The machine's clocks at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reading {
    /// Microseconds since 1970.
    pub wall: u64,
    pub uptime: Option<Uptime>,
}

/// How long a machine has run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Uptime {
    /// Tells one start of a machine from all others.
    pub boot: String,
    /// Microseconds since then.
    pub since: u64,
}

impl Reading {
    fn now() -> Self {
        Self { wall: Self::wall_now(), uptime: Uptime::now() }
    }

    fn wall_now() -> u64 {
        // Before 1970: a machine without a clock.
        micros(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default())
    }
}

impl Uptime {
    /// `None` if the system does not report it.
    fn now() -> Option<Self> {
        let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?.trim().to_owned();
        let uptime = std::fs::read_to_string("/proc/uptime").ok()?;
        let seconds: f64 = uptime.split_whitespace().next()?.parse().ok()?;
        Some(Self { boot, since: micros(Duration::try_from_secs_f64(seconds).ok()?) })
    }
}

/// A moment of the queue's time, with the machine's clocks at that moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mark {
    pub queue: Timestamp,
    pub reading: Reading,
}

impl Mark {
    /// The queue's time for these clocks.
    fn resumed(&self, now: &Reading) -> Timestamp {
        let passed = match (&self.reading.uptime, &now.uptime) {
            (Some(then), Some(now)) if then.boot == now.boot => now.since.saturating_sub(then.since),
            _ => now.wall.saturating_sub(self.reading.wall).min(micros(LONGEST_OFF)),
        };
        self.queue.after(Duration::from_micros(passed))
    }
}

/// Where the queue takes the time from.
#[derive(Debug, Clone)]
pub(crate) enum Clock {
    /// A moment, plus the monotonic time since: setting the clock while jobs run does not change their limits.
    System { base: Timestamp, started: Instant },
    /// Set by a test.
    #[cfg(test)]
    Manual(std::sync::Arc<std::sync::atomic::AtomicU64>),
}

impl Clock {
    /// The system's clock, continuing where the last platform with this store stopped.
    pub(super) fn resuming(mark: Option<&Mark>) -> Self {
        let now = Reading::now();
        let base = mark.map_or(Timestamp(now.wall), |mark| mark.resumed(&now));
        Self::System { base, started: Instant::now() }
    }

    /// This moment by all clocks, for the next platform.
    pub(super) fn mark(&self) -> Mark {
        Mark { queue: self.now(), reading: Reading::now() }
    }

    /// Milliseconds since 1970 by the wall clock, to compare with what another machine has sent.
    pub(super) fn wall_millis(&self) -> u64 {
        match self {
            Self::System { .. } => Reading::wall_now() / 1000,
            #[cfg(test)]
            Self::Manual(_) => self.now().0 / 1000,
        }
    }

    /// This moment.
    pub(crate) fn now(&self) -> Timestamp {
        match self {
            Self::System { base, started } => base.after(started.elapsed()),
            #[cfg(test)]
            Self::Manual(now) => Timestamp(now.load(std::sync::atomic::Ordering::SeqCst)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: u64 = 60 * 60 * 1_000_000;
    const YEAR: u64 = 365 * 24 * HOUR;

    fn reading(wall: u64, boot: &str, since: u64) -> Reading {
        Reading { wall, uptime: Some(Uptime { boot: boot.to_owned(), since }) }
    }

    #[test]
    fn on_the_same_start_of_the_machine_exactly_what_has_passed_counts() {
        let mark = Mark { queue: Timestamp(50 * YEAR), reading: reading(50 * YEAR, "a", HOUR) };
        for wall in [0, 49 * YEAR, 50 * YEAR + 2 * HOUR, 90 * YEAR] {
            let now = mark.resumed(&reading(wall, "a", 3 * HOUR));
            assert_eq!(now, Timestamp(50 * YEAR + 2 * HOUR), "whatever the wall clock says: {wall}");
        }
    }

    #[test]
    fn after_a_start_of_the_machine_a_clock_that_is_ahead_or_behind_moves_little() {
        let mark = Mark { queue: Timestamp(50 * YEAR), reading: reading(50 * YEAR, "a", HOUR) };
        let minutes = |minutes: u64| Timestamp(50 * YEAR + minutes * HOUR / 60);
        for (wall, expected) in [
            (50 * YEAR + HOUR / 60, minutes(1)),
            (51 * YEAR, minutes(10)),
            (u64::MAX, minutes(10)),
            (50 * YEAR - HOUR, minutes(0)),
            (0, minutes(0)),
        ] {
            assert_eq!(mark.resumed(&reading(wall, "b", 5)), expected, "{wall}");
            assert_eq!(mark.resumed(&Reading { wall, uptime: None }), expected, "{wall}");
        }
        // A wrong clock at one start does not make the next one wrong.
        let ahead = Mark { queue: minutes(10), reading: reading(90 * YEAR, "b", 0) };
        assert_eq!(ahead.resumed(&reading(50 * YEAR + HOUR, "c", 0)), minutes(10));
    }

    #[test]
    fn a_clock_goes_on_from_its_mark() {
        let first = Clock::resuming(None);
        let mark = Mark { queue: Timestamp(7), ..first.mark() };
        let next = Clock::resuming(Some(&mark)).now();
        assert!(next >= Timestamp(7) && next < Timestamp(HOUR), "{next:?}");
    }
}
