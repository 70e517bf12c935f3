//! The last 15 minutes of a platform as numbers, one row every few seconds, for curves and rates. At the same time, what
//! its workers take of the machine is measured.
use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::{
    hops::now_ms,
    pool::{Counts, Pool},
    releases::Releases,
    supervisor::usage_by_group,
};

/// The time between two rows.
const PERIOD: Duration = Duration::from_secs(5);
/// Rows of 15 minutes.
const KEPT: usize = 180;

/// The numbers of a platform at one moment.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    /// Milliseconds since 1970.
    pub time_ms: u64,
    /// When it was taken; unlike the time of day, this does not jump.
    pub at: Instant,
    /// The worker types of the live release, by name.
    pub types: Vec<TypeRow>,
}

/// The numbers of a worker type at one moment.
#[derive(Debug, Clone)]
pub(crate) struct TypeRow {
    pub name: String,
    pub counts: Counts,
    pub waiting: u64,
    /// Calls that ended since the platform started.
    pub ended: u64,
    /// Of these, those with an error.
    pub failed: u64,
    /// Tokens that its models have generated since then, by model.
    pub tokens: Vec<(String, u64)>,
    /// The price of the workers that run, per hour, in billionths of a dollar.
    pub per_hour: u64,
}

/// See the module.
#[derive(Default)]
pub(crate) struct History(Mutex<VecDeque<Arc<Row>>>);

impl History {
    /// Takes a row again and again until `closing`.
    pub(crate) async fn run(self: Arc<Self>, releases: Arc<Releases>, closing: CancellationToken) {
        let mut tick = tokio::time::interval(PERIOD);
        // After a pause one row is enough: it is only for display.
        tick.set_missed_tick_behavior(MissedTickBehavior::Skip);
        while closing.run_until_cancelled(tick.tick()).await.is_some() {
            measure(&releases).await;
            self.add(Row::now(&releases));
        }
    }

    fn add(&self, row: Row) {
        let mut rows = self.0.lock();
        if rows.len() == KEPT {
            rows.pop_front();
        }
        rows.push_back(Arc::new(row));
    }

    /// All rows, in order.
    pub(crate) fn rows(&self) -> Vec<Arc<Row>> {
        self.0.lock().iter().cloned().collect()
    }
}

/// Measures what all workers take of the machine.
async fn measure(releases: &Releases) {
    // It reads `/proc`. If no thread is available, the workers keep what was measured before.
    let Ok(groups) = tokio::task::spawn_blocking(usage_by_group).await else { return };
    let now = Instant::now();
    for release in releases.live_and_past() {
        release.pools().for_each(|pool| pool.measure(&groups, now));
    }
}

impl Row {
    /// The live release at this moment.
    pub(crate) fn now(releases: &Releases) -> Self {
        let live = releases.live();
        let types = live.iter().flat_map(|live| live.pools()).map(|pool| TypeRow::of(pool)).collect();
        Self { time_ms: now_ms(), at: Instant::now(), types }
    }

    /// A worker type in it.
    pub(crate) fn of(&self, name: &str) -> Option<&TypeRow> {
        self.types.iter().find(|own| own.name == name)
    }
}

impl TypeRow {
    fn of(pool: &Pool) -> Self {
        let load = pool.load();
        let counts = pool.counts();
        let (completed, failed) = pool.tally().endings();
        let tokens = pool.tally().models().into_iter().map(|(model, of)| (model, of.completion_tokens));
        Self {
            name: pool.worker_type.name.clone(),
            counts,
            waiting: (load.waiting + load.low_priority + load.delayed) as u64,
            ended: completed + failed,
            failed,
            tokens: tokens.collect(),
            per_hour: per_hour(counts, pool.price_per_second()),
        }
    }

    /// Tokens that a model has generated.
    pub(crate) fn tokens_of(&self, model: &str) -> Option<u64> {
        self.tokens.iter().find(|(name, _)| name == model).map(|(_, tokens)| *tokens)
    }
}

/// What these workers cost per hour.
fn per_hour(counts: Counts, price_per_second: Option<u64>) -> u64 {
    let workers = counts.starting + counts.idle + counts.busy + counts.stopping;
    u64::from(workers).saturating_mul(price_per_second.unwrap_or_default()).saturating_mul(3600)
}

/// How fast a number grew from one row to a later one, per second.
pub(crate) fn growth((before, from): (u64, Instant), (after, to): (u64, Instant)) -> f64 {
    let seconds = to.saturating_duration_since(from).as_secs_f64();
    if seconds > 0.0 { after.saturating_sub(before) as f64 / seconds } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_15_minutes_are_kept() {
        let history = History::default();
        for time_ms in 0..200 {
            history.add(Row { time_ms, at: Instant::now(), types: Vec::new() });
        }
        let rows = history.rows();
        assert_eq!((rows.len(), rows[0].time_ms, rows[179].time_ms), (180, 20, 199));
    }

    #[test]
    fn a_worker_costs_while_it_exists_and_growth_is_per_second() {
        let counts = Counts { busy: 1, idle: 1, starting: 1, unhealthy: 5, ..Counts::default() };
        assert_eq!((per_hour(counts, Some(1000)), per_hour(counts, None)), (3 * 3_600_000, 0));
        let now = Instant::now();
        let later = now + Duration::from_secs(2);
        assert!((growth((3, now), (7, later)) - 2.0).abs() < 1e-9);
        assert_eq!((growth((7, now), (3, later)), growth((3, now), (7, now))), (0.0, 0.0));
    }
}
