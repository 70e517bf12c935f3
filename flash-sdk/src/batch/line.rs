//! The calls that wait for a batch, and which of them run next.
use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use flash_protocol::BatchLimits;

/// A call that waits.
#[derive(Debug)]
pub(super) struct Waiting<T> {
    /// Higher than those of all calls before it in its line.
    pub ticket: u64,
    /// Its share of a batch's budget.
    pub cost: u64,
    pub arrived: Instant,
    /// When its caller stops waiting.
    pub deadline: Option<Instant>,
    /// Whether it runs in no batch with others, because it may have ended an earlier one.
    pub alone: bool,
    pub item: T,
}

/// What to do next.
#[derive(Debug)]
pub(super) enum Next<T> {
    /// Run these together: at least one.
    Run(Vec<Waiting<T>>),
    /// Ask again at this time, or when another call has arrived.
    WaitUntil(Instant),
    /// Nobody waits.
    Nothing,
}

/// A batch, before it is taken out of the line.
struct Chosen {
    /// In order of arrival.
    places: Vec<usize>,
    /// Whether nobody else would have room.
    is_full: bool,
}

/// Calls in order of arrival.
#[derive(Debug)]
pub(super) struct Line<T> {
    waiting: VecDeque<Waiting<T>>,
}

impl<T> Line<T> {
    pub(super) const fn new() -> Self {
        Self { waiting: VecDeque::new() }
    }

    pub(super) fn push(&mut self, call: Waiting<T>) {
        self.waiting.push_back(call);
    }

    /// Puts a call back in its place: it was taken for a batch that never ended.
    pub(super) fn put_back(&mut self, call: Waiting<T>) {
        let place = self.waiting.partition_point(|other| other.ticket < call.ticket);
        self.waiting.insert(place, call);
    }

    /// Removes a call whose caller is gone. It may have left the line already: each call does when it has its result, so
    /// that is found out without a look at all that wait.
    pub(super) fn remove(&mut self, ticket: u64) {
        if let Ok(place) = self.waiting.binary_search_by_key(&ticket, |call| call.ticket) {
            self.waiting.remove(place);
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Decides what runs next. `learned` is how long a batch usually takes.
    pub(super) fn next(&mut self, limits: &BatchLimits, now: Instant, learned: Duration) -> Next<T> {
        self.waiting.retain(|call| call.deadline.is_none_or(|deadline| deadline > now));
        let Some(oldest) = self.waiting.front() else { return Next::Nothing };
        let gathered = oldest.arrived + limits.wait();
        let Chosen { places, is_full } = self.choose(limits);
        if !is_full && now < gathered {
            let latest = self.waiting.iter().filter_map(|call| call.deadline?.checked_sub(learned)).min();
            let until = latest.map_or(gathered, |latest| latest.min(gathered));
            if now < until {
                return Next::WaitUntil(until);
            }
        }
        Next::Run(self.take(&places))
    }

    /// The calls that run together: the oldest, then those that cost about the same, because a padded batch of equals
    /// wastes the least.
    fn choose(&self, limits: &BatchLimits) -> Chosen {
        let oldest = &self.waiting[0];
        let mut places = vec![0];
        if oldest.alone {
            return Chosen { places, is_full: true };
        }
        let mut others: Vec<usize> = (1..self.waiting.len()).filter(|at| !self.waiting[*at].alone).collect();
        // Stable: of equals, those that came first.
        others.sort_by_key(|at| self.waiting[*at].cost.abs_diff(oldest.cost));
        let (mut most, mut sum) = (oldest.cost, oldest.cost);
        for at in others {
            let cost = self.waiting[at].cost;
            if limits.allow(places.len() + 1, most.max(cost), sum.saturating_add(cost)) {
                places.push(at);
                (most, sum) = (most.max(cost), sum.saturating_add(cost));
            }
        }
        places.sort_unstable();
        // Somebody is left out, or would be even if it cost next to nothing.
        let is_full =
            places.len() < self.waiting.len() || !limits.allow(places.len() + 1, most, sum.saturating_add(1));
        Chosen { places, is_full }
    }

    fn take(&mut self, chosen: &[usize]) -> Vec<Waiting<T>> {
        let mut taken: Vec<_> = chosen.iter().rev().filter_map(|at| self.waiting.remove(*at)).collect();
        taken.reverse();
        taken
    }
}
