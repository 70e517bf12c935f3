//! The calls that ended lately on the workers of one type, for display: each with its times, its worker, its cost and
//! its error.
//!
//! One call is one hop of a request. Their number and their text are bounded, and they end with the process.
use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use flash_protocol::{catalogue::NanoDollars, wire::job::JobStatus};
use flash_text::cut;
use parking_lot::Mutex;

use crate::worker_id::WorkerId;

/// Hops that are kept; the oldest go.
const KEPT: usize = 10_000;
/// Bytes of a name that a client or worker chooses.
const MAX_NAME: usize = 128;
/// Bytes of an error.
const MAX_ERROR: usize = 1_000;
/// Calls that ended earlier than this say nothing about how long one takes now.
const LATELY: Duration = Duration::from_secs(15 * 60);

/// A call that has ended.
#[derive(Debug, Clone)]
pub(crate) struct Hop {
    pub request_id: String,
    /// `None` for a request to a load-balanced worker.
    pub job: Option<String>,
    pub function: Option<String>,
    pub worker: Option<WorkerId>,
    pub status: JobStatus,
    /// Milliseconds since 1970.
    pub ended_ms: u64,
    /// From its arrival until its last attempt began.
    pub waited: Duration,
    /// How long its last attempt ran.
    pub ran: Duration,
    pub cost: NanoDollars,
    pub error: Option<String>,
    /// The status of HTTP, of a request to a load-balanced worker that was answered.
    pub answered: Option<u16>,
}

/// How long calls took from their arrival to their end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Quantiles {
    pub p50: Duration,
    pub p95: Duration,
    pub p99: Duration,
    pub calls: usize,
}

/// See the module.
#[derive(Default)]
pub(crate) struct Hops(Mutex<VecDeque<Arc<Hop>>>);

impl Hops {
    /// Adds one that ends now.
    pub(crate) fn add(&self, mut hop: Hop) {
        cut(&mut hop.request_id, MAX_NAME);
        for name in [&mut hop.function, &mut hop.job].into_iter().flatten() {
            cut(name, MAX_NAME);
        }
        if let Some(error) = &mut hop.error {
            cut(error, MAX_ERROR);
        }
        let hop = Arc::new(hop);
        let mut hops = self.0.lock();
        let oldest = if hops.len() == KEPT { hops.pop_front() } else { None };
        hops.push_back(hop);
        drop(hops);
        // Freed without the lock.
        drop(oldest);
    }

    /// The latest first, up to `limit`. They are shared and not copied: calls that end wait for the lock.
    pub(crate) fn latest(&self, limit: usize) -> Vec<Arc<Hop>> {
        self.0.lock().iter().rev().take(limit).cloned().collect()
    }

    /// Of calls that completed or failed in the last 15 minutes; `None` if there were none.
    pub(crate) fn quantiles(&self) -> Option<Quantiles> {
        let since = now_ms().saturating_sub(u64::try_from(LATELY.as_millis()).unwrap_or(u64::MAX));
        let is_counted = |hop: &&Arc<Hop>| hop.ended_ms >= since && hop.status != JobStatus::Cancelled;
        let mut times: Vec<Duration> =
            self.0.lock().iter().filter(is_counted).map(|hop| hop.waited + hop.ran).collect();
        times.sort_unstable();
        let last = times.len().checked_sub(1)?;
        // The smallest time that this share of the calls did not exceed.
        let at = |percent: usize| times[(times.len() * percent).div_ceil(100).saturating_sub(1).min(last)];
        Some(Quantiles { p50: at(50), p95: at(95), p99: at(99), calls: times.len() })
    }
}

/// Milliseconds since 1970.
pub(crate) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hop(request: &str, millis: u64) -> Hop {
        Hop {
            request_id: request.to_owned(),
            job: None,
            function: Some("f".to_owned()),
            worker: None,
            status: JobStatus::Completed,
            ended_ms: now_ms(),
            waited: Duration::ZERO,
            ran: Duration::from_millis(millis),
            cost: NanoDollars(0),
            error: None,
            answered: None,
        }
    }

    #[test]
    fn the_latest_are_kept_and_no_text_is_long() {
        let hops = Hops::default();
        for number in 0..=KEPT {
            hops.add(hop(&number.to_string(), 1));
        }
        let latest = hops.latest(usize::MAX);
        assert_eq!((latest.len(), latest[0].request_id.as_str()), (KEPT, KEPT.to_string().as_str()));
        assert!(latest.iter().all(|hop| hop.request_id != "0"));
        let long = "é".repeat(5000);
        hops.add(Hop { error: Some(long.clone()), function: Some(long.clone()), ..hop(&long, 1) });
        let found = hops.latest(1).swap_remove(0);
        let texts = [Some(&found.request_id), found.function.as_ref(), found.error.as_ref()];
        let lengths = texts.map(|text| text.unwrap().len());
        assert!(lengths[0] <= MAX_NAME && lengths[1] <= MAX_NAME && lengths[2] <= MAX_ERROR, "{lengths:?}");
    }

    #[test]
    fn quantiles_are_times_that_calls_took_and_cancelled_and_old_ones_do_not_count() {
        let hops = Hops::default();
        assert_eq!(hops.quantiles(), None);
        hops.add(Hop { ended_ms: 0, ..hop("old", 100_000) });
        hops.add(Hop { status: JobStatus::Cancelled, ..hop("cancelled", 100_000) });
        hops.add(hop("only", 7));
        let millis = Duration::from_millis;
        let one = Quantiles { p50: millis(7), p95: millis(7), p99: millis(7), calls: 1 };
        assert_eq!(hops.quantiles(), Some(one));
        for time in (1..=100).rev().filter(|time| *time != 7) {
            hops.add(hop("r", time));
        }
        let all = Quantiles { p50: millis(50), p95: millis(95), p99: millis(99), calls: 100 };
        assert_eq!(hops.quantiles(), Some(all));
    }
}
