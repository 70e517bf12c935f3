//! The cost of requests, hop by hop.
use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use flash_protocol::catalogue::NanoDollars;
use parking_lot::{Mutex, MutexGuard};

use crate::worker_id::WorkerId;

/// Requests that are kept; the oldest go.
pub(crate) const KEPT_REQUESTS: usize = 10_000;
/// Maximum number of hops per request. The cost of further ones is only in its sum.
const MAX_HOPS: usize = 32;
/// Of a request's id and of a function's name: workers and clients choose them.
const MAX_NAME_BYTES: usize = 128;

/// The cost of a request on one worker in one function.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Hop {
    pub worker_type: Arc<str>,
    pub function: Option<Arc<str>>,
    pub worker: WorkerId,
    pub cost: NanoDollars,
}

/// The cost of a request so far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct RequestCost {
    /// All of it.
    pub total: NanoDollars,
    /// In the order in which they ended first.
    pub hops: Vec<Hop>,
    /// The part of the total without a hop, because there were too many.
    pub other: NanoDollars,
}

impl RequestCost {
    fn add(&mut self, worker_type: &Arc<str>, function: Option<&str>, worker: &WorkerId, cost: NanoDollars) {
        let plus = |sum: NanoDollars| NanoDollars(sum.0.saturating_add(cost.0));
        self.total = plus(self.total);
        let same = |hop: &&mut Hop| {
            hop.worker == *worker && hop.worker_type == *worker_type && hop.function.as_deref() == function
        };
        if let Some(hop) = self.hops.iter_mut().find(same) {
            hop.cost = plus(hop.cost);
        } else if self.hops.len() < MAX_HOPS && function.is_none_or(|name| name.len() <= MAX_NAME_BYTES) {
            self.hops.push(Hop {
                worker_type: worker_type.clone(),
                function: function.map(Arc::from),
                worker: worker.clone(),
                cost,
            });
        } else {
            self.other = plus(self.other);
        }
    }
}

/// The costs of the latest requests.
#[derive(Default)]
pub(crate) struct RequestCosts {
    latest: Mutex<Latest>,
}

#[derive(Default)]
struct Latest {
    by_id: HashMap<Arc<str>, RequestCost>,
    /// The oldest first.
    order: VecDeque<Arc<str>>,
}

impl RequestCosts {
    fn lock(&self) -> MutexGuard<'_, Latest> {
        self.latest.lock()
    }

    /// A share was charged.
    pub(super) fn add(
        &self,
        request_id: &str,
        worker_type: &Arc<str>,
        function: Option<&str>,
        worker: &WorkerId,
        cost: NanoDollars,
    ) {
        if request_id.len() > MAX_NAME_BYTES {
            return;
        }
        let mut latest = self.lock();
        if let Some(known) = latest.by_id.get_mut(request_id) {
            known.add(worker_type, function, worker, cost);
            return;
        }
        if latest.order.len() == KEPT_REQUESTS
            && let Some(oldest) = latest.order.pop_front()
        {
            latest.by_id.remove(&oldest);
        }
        let id: Arc<str> = request_id.into();
        let mut new = RequestCost::default();
        new.add(worker_type, function, worker, cost);
        latest.order.push_back(id.clone());
        latest.by_id.insert(id, new);
    }

    /// The cost of a request; `None` if it was never charged, or too long ago.
    pub(crate) fn of(&self, request_id: &str) -> Option<RequestCost> {
        self.lock().by_id.get(request_id).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn add(costs: &RequestCosts, request: &str, function: &str, worker: &str, cost: u64) {
        costs.add(request, &"gpu".into(), Some(function), &worker.into(), NanoDollars(cost));
    }

    #[test]
    fn hops_of_one_request_are_joined_and_the_same_hop_is_one() {
        let costs = RequestCosts::default();
        for (function, worker, cost) in [("f", "w1", 5), ("f", "w1", 6), ("f", "w2", 7), ("g", "w1", 8)] {
            add(&costs, "r", function, worker, cost);
        }
        add(&costs, "other", "f", "w1", 100);
        let cost = costs.of("r").unwrap();
        assert_eq!(cost.total, NanoDollars(26));
        assert_eq!(cost.hops.iter().map(|hop| hop.cost.0).collect::<Vec<_>>(), [11, 7, 8]);
    }

    #[test]
    fn the_oldest_requests_go_and_hops_are_bounded_but_for_the_sum() {
        let costs = RequestCosts::default();
        for request in 0..=KEPT_REQUESTS {
            add(&costs, &request.to_string(), "f", "w", 1);
        }
        assert_eq!(costs.of("0"), None);
        assert!(costs.of("1").is_some() && costs.of(&KEPT_REQUESTS.to_string()).is_some());
        for worker in 0..100 {
            add(&costs, "many", "f", &worker.to_string(), 1);
        }
        let many = costs.of("many").unwrap();
        assert_eq!((many.total, many.hops.len(), many.other), (NanoDollars(100), 32, NanoDollars(68)));
        add(&costs, &"x".repeat(129), "f", "w", 1);
        assert_eq!(costs.of(&"x".repeat(129)), None, "an id that no header would carry");
    }
}
