//! The hops of requests: those that wait or run now, and those that ended lately.
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use flash_dashboard::view::{Hop, State};
use flash_protocol::wire::job::JobStatus;

use super::super::state::GatewayState;
use crate::{
    hops::{self, now_ms},
    pool::Pool,
    queue::{Shown, ShownJob},
    release::shown,
};

/// Jobs of one queue that are looked at while they wait or run.
const MOST_OPEN: usize = 500;

/// A call as the platform knows it. One that has ended is shared with those that keep it, so that looking through many
/// copies none.
pub(super) enum Known {
    Open(Box<Hop>),
    Ended(Arc<str>, Arc<hops::Hop>),
}

/// What is known of requests.
pub(super) struct Trail {
    /// The hops of each request in order of their beginning, by its ID.
    pub requests: HashMap<String, Vec<Known>>,
    /// How the functions with a route are shown, by the name that calls have.
    routes: HashMap<String, String>,
}

impl Known {
    pub(super) fn began_ms(&self) -> u64 {
        match self {
            Self::Open(hop) => hop.began_ms,
            Self::Ended(_, hop) => before(hop.ended_ms, hop.waited + hop.ran),
        }
    }

    pub(super) fn state(&self) -> State {
        match self {
            Self::Open(hop) => hop.state,
            Self::Ended(_, hop) => state_of(hop.status),
        }
    }

    pub(super) fn job(&self) -> Option<&str> {
        match self {
            Self::Open(hop) => hop.job.as_deref(),
            Self::Ended(_, hop) => hop.job.as_deref(),
        }
    }

    /// In billionths of a dollar.
    pub(super) fn cost(&self) -> u64 {
        match self {
            Self::Open(hop) => hop.cost,
            Self::Ended(_, hop) => hop.cost.0,
        }
    }

    fn function(&self) -> Option<&str> {
        match self {
            Self::Open(hop) => hop.function.as_deref(),
            Self::Ended(_, hop) => hop.function.as_deref(),
        }
    }
}

impl Trail {
    /// What is called: the function, or its route.
    pub(super) fn called<'a>(&'a self, known: &'a Known) -> Option<&'a str> {
        let function = known.function()?;
        let route = self.routes.get(function).filter(|_| known.job().is_none());
        Some(route.map_or(function, String::as_str))
    }

    /// A hop for a page.
    pub(super) fn show(&self, known: &Known) -> Hop {
        let function = self.called(known).map(str::to_owned);
        match known {
            Known::Open(hop) => Hop { function, ..(**hop).clone() },
            Known::Ended(worker_type, hop) => Hop { function, ..ended(worker_type, hop) },
        }
    }
}

/// All that is known of requests, up to `limit` ended hops of each worker type.
pub(super) fn trail(state: &GatewayState, limit: usize) -> Trail {
    let mut requests: HashMap<String, Vec<Known>> = HashMap::new();
    let mut add = |id: String, hop: Known| requests.entry(id).or_default().push(hop);
    let now = now_ms();
    // Releases share what is known of a worker type.
    let mut seen = BTreeSet::new();
    for pool in pools(state) {
        let name = &pool.worker_type.name;
        for job in pool.queue().map(|queue| queue.shown(Shown::Open, MOST_OPEN)).unwrap_or_default() {
            add(job.request_id.clone(), Known::Open(Box::new(of_job(name, &job, now))));
        }
        for (worker, request) in pool.balanced_requests() {
            let hop = Hop { worker: Some(worker.to_string()), ..empty(name, State::Running, now) };
            add(request, Known::Open(Box::new(hop)));
        }
        if seen.insert(name.clone()) {
            let name: Arc<str> = name.as_str().into();
            for hop in pool.tally().hops.latest(limit) {
                add(hop.request_id.clone(), Known::Ended(name.clone(), hop));
            }
        }
    }
    requests.values_mut().filter(|hops| hops.len() > 1).for_each(tidy);
    Trail { requests, routes: routes(state) }
}

/// Puts the hops of a request in order, each once.
fn tidy(hops: &mut Vec<Known>) {
    // A job that was tried again after it had failed is there twice: what it does now counts.
    let open: BTreeSet<String> = hops
        .iter()
        .filter(|hop| !hop.state().is_final())
        .filter_map(|hop| hop.job().map(str::to_owned))
        .collect();
    hops.retain(|hop| !hop.state().is_final() || hop.job().is_none_or(|job| !open.contains(job)));
    hops.sort_by_key(Known::began_ms);
}

/// How the functions with a route are shown, by the name that calls have.
fn routes(state: &GatewayState) -> HashMap<String, String> {
    let live = state.releases.live();
    let functions = live.iter().flat_map(|live| &live.manifest.functions);
    let routed = functions.filter(|function| function.route.is_some());
    routed.map(|function| (function.call_name(), shown(function))).collect()
}

/// The pools of the live release and of those before it.
pub(super) fn pools(state: &GatewayState) -> Vec<Arc<Pool>> {
    state
        .releases
        .live_and_past()
        .iter()
        .flat_map(|release| release.pools().cloned().collect::<Vec<_>>())
        .collect()
}

/// When each worker began to start, and was ready: in milliseconds since 1970.
pub(super) fn starts(state: &GatewayState) -> BTreeMap<String, (u64, u64)> {
    let lives = pools(state).into_iter().flat_map(|pool| pool.lives());
    lives.filter_map(|life| Some((life.id.to_string(), (life.started_ms, life.ready_ms?)))).collect()
}

/// The part of a hop's wait in which its worker started.
pub(super) fn starting(hop: &Hop, starts: &BTreeMap<String, (u64, u64)>) -> Duration {
    let Some((started, ready)) = hop.worker.as_ref().and_then(|worker| starts.get(worker)) else {
        return Duration::ZERO;
    };
    let waited = u64::try_from(hop.waited.as_millis()).unwrap_or(u64::MAX);
    let end = hop.began_ms.saturating_add(waited);
    let overlap = end.min(*ready).saturating_sub(hop.began_ms.max(*started));
    Duration::from_millis(overlap).min(hop.waited)
}

pub(super) fn state_of(status: JobStatus) -> State {
    match status {
        JobStatus::InQueue => State::Waiting,
        JobStatus::InProgress => State::Running,
        JobStatus::Completed => State::Completed,
        JobStatus::Failed => State::Failed,
        JobStatus::Cancelled => State::Cancelled,
        JobStatus::TimedOut => State::TimedOut,
    }
}

fn empty(worker_type: &str, state: State, began_ms: u64) -> Hop {
    Hop {
        worker_type: worker_type.to_owned(),
        function: None,
        worker: None,
        job: None,
        state,
        began_ms,
        waited: Duration::ZERO,
        starting: Duration::ZERO,
        ran: Duration::ZERO,
        cost: 0,
        error: None,
        answered: None,
    }
}

fn of_job(worker_type: &str, job: &ShownJob, now: u64) -> Hop {
    Hop {
        function: job.function.clone(),
        worker: job.worker.as_ref().map(ToString::to_string),
        job: Some(job.id.to_string()),
        waited: job.waited,
        ran: job.ran,
        cost: job.cost,
        error: job.error.clone(),
        ..empty(worker_type, state_of(job.status), before(now, job.age))
    }
}

fn ended(worker_type: &str, hop: &hops::Hop) -> Hop {
    Hop {
        worker: hop.worker.as_ref().map(ToString::to_string),
        job: hop.job.clone(),
        waited: hop.waited,
        ran: hop.ran,
        cost: hop.cost.0,
        error: hop.error.clone(),
        answered: hop.answered,
        ..empty(worker_type, state_of(hop.status), before(hop.ended_ms, hop.waited + hop.ran))
    }
}

fn before(ms: u64, time: Duration) -> u64 {
    ms.saturating_sub(u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_start_of_a_worker_is_the_part_of_the_wait_that_it_overlaps() {
        let hop = |worker: &str, began_ms, waited| Hop {
            worker: Some(worker.to_owned()),
            waited: Duration::from_millis(waited),
            ..empty("gpu", State::Completed, began_ms)
        };
        let starts = BTreeMap::from([("w".to_owned(), (1000, 4000))]);
        for (began, waited, expected) in
            [(900, 3200, 3000), (2000, 2100, 2000), (5000, 10, 0), (100, 300, 0), (2000, 500, 500)]
        {
            let part = starting(&hop("w", began, waited), &starts);
            assert_eq!(part, Duration::from_millis(expected), "{began} {waited}");
        }
        assert_eq!(starting(&hop("other", 900, 3200), &starts), Duration::ZERO);
    }
}
