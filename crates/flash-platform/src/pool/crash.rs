//! When to start the next worker after a crash, and when crashes have become a loop. No clock, no I/O.
//!
//! A worker that did useful work or lived long before it died is replaced at once, because the next one will probably
//! work. So is one that died during work: the job or request may be the cause, jobs have a limited number of
//! attempts, and other work should not wait. Other consecutive crashes get growing pauses.
use std::time::{Duration, Instant};

/// A worker that lived this long after it was ready does not count as a failed start.
pub(super) const LONG_LIFE: Duration = Duration::from_secs(30);
/// After this many useless crashes in a row it is a loop.
const LOOP_AT: u32 = 3;
/// Pause after the first useless crash; doubles with each.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
/// Longest pause between starts of a worker type that crashes.
const MAX_PAUSE: Duration = Duration::from_secs(30);

/// At what point of its life a worker died.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Death {
    /// It never became ready.
    Starting,
    /// Soon after it was ready, with nothing to do: its own fault.
    Idle,
    /// With unfinished work, its first. That work may be the cause, and its attempts are counted.
    AtFirstWork,
    /// After it had finished work, or after a long life.
    Proven,
}

/// What a worker's death means for the next start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Replace it at once.
    AtOnce,
    /// The next start must wait.
    Pause(Duration),
    /// Workers keep dying, so waiting callers get an error. `began`: the loop began with this death.
    Loop { pause: Duration, began: bool },
}

/// The deaths of one worker type.
#[derive(Debug, Default)]
pub(crate) struct Crashes {
    in_a_row: u32,
    again_at: Option<Instant>,
}

impl Crashes {
    /// A worker died.
    pub(crate) fn died(&mut self, death: Death, now: Instant) -> Verdict {
        match death {
            Death::Proven => {
                self.proven();
                return Verdict::AtOnce;
            }
            // It became ready, which does not prove that it works: the count of crashes neither grows nor resets.
            Death::AtFirstWork => return Verdict::AtOnce,
            Death::Starting | Death::Idle => {}
        }
        self.in_a_row = self.in_a_row.saturating_add(1);
        let pause = FIRST_PAUSE.saturating_mul(1 << (self.in_a_row - 1).min(16)).min(MAX_PAUSE);
        self.again_at = Some(now + pause);
        match self.in_a_row {
            count if count < LOOP_AT => Verdict::Pause(pause),
            count => Verdict::Loop { pause, began: count == LOOP_AT },
        }
    }

    /// A worker finished work or has lived long enough, which ends the series of crashes.
    pub(crate) fn proven(&mut self) {
        *self = Self::default();
    }

    /// Whether the next start must wait.
    pub(crate) fn backing_off(&self, now: Instant) -> bool {
        self.again_at.is_some_and(|again| now < again)
    }

    /// Whether there was a crash without success since.
    pub(crate) fn any(&self) -> bool {
        self.in_a_row > 0
    }

    /// Whether workers die in a row.
    pub(crate) fn is_loop(&self) -> bool {
        self.in_a_row >= LOOP_AT
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn pauses_double_up_to_half_a_minute_and_the_loop_is_news_once() {
        let (mut crashes, now) = (Crashes::default(), Instant::now());
        let verdicts: Vec<Verdict> = (0..10).map(|_| crashes.died(Death::Starting, now)).collect();
        assert_eq!(verdicts[..2], [Verdict::Pause(ms(250)), Verdict::Pause(ms(500))]);
        let looped = |pause, began| Verdict::Loop { pause: ms(pause), began };
        assert_eq!(verdicts[2..4], [looped(1_000, true), looped(2_000, false)]);
        assert_eq!(verdicts[7..], [looped(30_000, false); 3]);
        assert!(crashes.is_loop() && crashes.backing_off(now + ms(29_999)));
        assert!(!crashes.backing_off(now + ms(30_000)));
    }

    #[test]
    fn a_worker_that_proved_itself_ends_the_row_and_is_replaced_at_once() {
        let (mut crashes, now) = (Crashes::default(), Instant::now());
        for _ in 0..5 {
            crashes.died(Death::Idle, now);
        }
        assert_eq!(crashes.died(Death::Proven, now), Verdict::AtOnce);
        assert!(!crashes.is_loop() && !crashes.backing_off(now));
        assert_eq!(crashes.died(Death::Starting, now), Verdict::Pause(ms(250)));
    }

    #[test]
    fn a_death_at_work_holds_up_no_other_work() {
        let (mut crashes, now) = (Crashes::default(), Instant::now());
        for _ in 0..100 {
            assert_eq!(crashes.died(Death::AtFirstWork, now), Verdict::AtOnce);
        }
        assert!(!crashes.any() && !crashes.backing_off(now));
        // Nor does it hide that workers do not start.
        for _ in 0..2 {
            crashes.died(Death::Starting, now);
        }
        crashes.died(Death::AtFirstWork, now);
        assert_eq!(crashes.died(Death::Starting, now), Verdict::Loop { pause: ms(1_000), began: true });
    }
}
