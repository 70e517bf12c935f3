//! What an environment spent on each day, for its dashboard.
use std::time::{Duration, Instant};

use flash_platform::{DailyCost, DailyCosts};
use flash_target::{CostQuery, Grain, now_ms};
use parking_lot::Mutex;

use crate::database::{Database, EnvironmentKey};

/// How far back the dashboard looks.
const LOOK_BACK: Duration = Duration::from_secs(30 * 24 * 3600);
/// How long what was read is shown again: each page that is open asks every other second.
const FRESH: Duration = Duration::from_secs(10);

/// See the module.
pub(super) struct DaysOf {
    database: Database,
    environment: EnvironmentKey,
    read: Mutex<Option<(Instant, Vec<DailyCost>)>>,
}

impl DaysOf {
    /// Nothing is read yet.
    pub(super) fn new(database: Database, environment: EnvironmentKey) -> Self {
        Self { database, environment, read: Mutex::default() }
    }
}

impl DailyCosts for DaysOf {
    fn latest(&self) -> Result<Vec<DailyCost>, String> {
        // Also while one reads: others would read the same.
        let mut read = self.read.lock();
        if let Some((at, days)) = &*read
            && at.elapsed() < FRESH
        {
            return Ok(days.clone());
        }
        let until_ms = now_ms().saturating_add(1);
        let look_back = u64::try_from(LOOK_BACK.as_millis()).unwrap_or(u64::MAX);
        let query = CostQuery { since_ms: until_ms.saturating_sub(look_back), until_ms, grain: Grain::Day };
        let costs = self.database.costs(self.environment, &query).map_err(|error| error.to_string())?;
        let mut days: Vec<DailyCost> = Vec::new();
        for cost in costs.workers {
            let Some(day_ms) = cost.day_ms else { continue };
            let bill = (cost.worker, cost.bill);
            match days.iter_mut().find(|own| own.day_ms == day_ms) {
                Some(own) => own.workers.push(bill),
                None => days.push(DailyCost { day_ms, workers: vec![bill] }),
            }
        }
        days.sort_unstable_by_key(|own| std::cmp::Reverse(own.day_ms));
        *read = Some((Instant::now(), days.clone()));
        Ok(days)
    }
}
