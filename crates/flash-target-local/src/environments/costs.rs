//! What was spent: the platform counts, the database stores.
use std::{sync::Arc, time::Duration};

use flash_platform::{CostTotals, FunctionTotal, TypeTotal};
use flash_target::{CostQuery, Costs, EnvironmentId, TargetError, now_ms};
use tokio::time::MissedTickBehavior;

use super::{
    host::Host,
    running::{RunState, Running},
};
use crate::database::{FunctionSpent, Spent, WorkerSpent};

/// The interval between looks at what was spent.
const INTERVAL: Duration = Duration::from_secs(1);

/// Runs until the service ends.
pub(super) async fn record_until_closed(host: Arc<Host>) {
    let mut ticks = tokio::time::interval(INTERVAL);
    // After a pause, one look is enough.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    while host.closing.run_until_cancelled(ticks.tick()).await.is_some() {
        for running in host.all() {
            record(&host, &running).await;
        }
        for damage in host.database.unreported_damage() {
            host.report.warning(&damage);
        }
    }
}

/// Brings the costs of an environment up to date.
pub(super) async fn record(host: &Host, running: &Running) {
    // One at a time: two must not record the same amounts.
    let _alone = running.cost_lock.lock().await;
    record_locked(host, running).await;
}

/// Records the last counts of a platform that has ended, and forgets it: the next one starts at zero.
pub(super) async fn record_final(host: &Host, running: &Running) {
    let _alone = running.cost_lock.lock().await;
    record_locked(host, running).await;
    running.set_state(RunState::Down { reason: "it is starting".to_owned() });
    *running.recorded_costs.lock() = CostTotals::default();
}

/// Only while `cost_lock` is held.
async fn record_locked(host: &Host, running: &Running) {
    let Some(platform) = running.platform() else { return };
    let totals = platform.costs();
    let spent = difference(&running.recorded_costs.lock(), &totals);
    if spent.is_nothing() {
        return;
    }
    let key = running.stored.key;
    // What cannot be stored now is part of the next difference.
    if host.ask(move |database| database.add_costs(key, now_ms(), &spent)).await.is_ok() {
        *running.recorded_costs.lock() = totals;
    }
}

/// The sums of a period.
pub(super) async fn costs(host: &Host, id: &EnvironmentId, query: CostQuery) -> Result<Costs, TargetError> {
    let running = host.find(id)?;
    record(host, &running).await;
    let key = running.stored.key;
    host.ask(move |database| database.costs(key, &query)).await
}

/// The increase.
fn difference(before: &CostTotals, now: &CostTotals) -> Spent {
    let workers = now.workers.iter().map(|now| {
        let before = before.workers.iter().find(|before| before.worker_type == now.worker_type);
        worker_difference(before, now)
    });
    let functions = now.functions.iter().map(|now| {
        let is_same = |before: &&FunctionTotal| {
            before.worker_type == now.worker_type && before.function == now.function
        };
        let (calls, cost, ran) = before
            .functions
            .iter()
            .find(is_same)
            .map_or((0, 0, Duration::ZERO), |before| (before.calls, before.cost.0, before.ran));
        FunctionSpent {
            worker: now.worker_type.clone(),
            function: now.function.clone(),
            calls: now.calls.saturating_sub(calls),
            cost: now.cost.0.saturating_sub(cost),
            ran: now.ran.saturating_sub(ran),
        }
    });
    let is_something = |spent: &WorkerSpent| {
        *spent != WorkerSpent { worker: spent.worker.clone(), ..WorkerSpent::default() }
    };
    Spent {
        workers: workers.filter(is_something).collect(),
        functions: functions
            .filter(|spent| spent.calls > 0 || spent.cost > 0 || spent.ran > Duration::ZERO)
            .collect(),
    }
}

fn worker_difference(before: Option<&TypeTotal>, now: &TypeTotal) -> WorkerSpent {
    let money = |of: fn(&TypeTotal) -> u64| of(now).saturating_sub(before.map_or(0, of));
    let time = |of: fn(&TypeTotal) -> Duration| of(now).saturating_sub(before.map_or(Duration::ZERO, of));
    WorkerSpent {
        worker: now.worker_type.clone(),
        bill: money(|total| total.bill.0),
        start: money(|total| total.start.0),
        run: money(|total| total.run.0),
        start_time: time(|total| total.start_time),
        run_time: time(|total| total.run_time),
        idle_time: time(|total| total.idle_time),
        started: money(|total| total.started),
    }
}

#[cfg(test)]
mod tests {
    use flash_protocol::catalogue::NanoDollars;

    use super::*;

    fn totals(bill: u64, calls: u64) -> CostTotals {
        CostTotals {
            workers: vec![TypeTotal {
                worker_type: "gpu".into(),
                bill: NanoDollars(bill),
                start: NanoDollars(1),
                run: NanoDollars(2),
                start_time: Duration::from_secs(1),
                run_time: Duration::from_secs(2),
                idle_time: Duration::ZERO,
                started: 1,
            }],
            functions: vec![FunctionTotal {
                worker_type: "gpu".into(),
                function: "f".into(),
                calls,
                cost: NanoDollars(2),
                ran: Duration::from_secs(2),
            }],
        }
    }

    #[test]
    fn only_what_came_on_top_is_booked() {
        let first = difference(&CostTotals::default(), &totals(10, 1));
        assert_eq!((first.workers[0].bill, first.workers[0].started, first.functions[0].calls), (10, 1, 1));
        let second = difference(&totals(10, 1), &totals(14, 1));
        assert_eq!((second.workers[0].bill, second.workers[0].started), (4, 0));
        assert!(second.functions.is_empty());
        assert!(difference(&totals(14, 1), &totals(14, 1)).is_nothing());
    }
}
