//! The account of a worker, and the shares of jobs and requests in it.
use std::{
    borrow::Cow,
    sync::Arc,
    time::{Duration, Instant},
};

use flash_protocol::{catalogue::NanoDollars, wire::job::JobStatus};
use parking_lot::Mutex;

use super::{
    ledger::{Ledger, Moment, Reading, Sums, Weight},
    requests::RequestCosts,
};
use crate::{
    hops::{Hop, now_ms},
    tally::{Ending, Tally},
    worker_id::WorkerId,
};

/// Who is charged for a share.
#[derive(Debug, Clone)]
pub(crate) struct ChargedTo<'a> {
    pub request_id: Cow<'a, str>,
    pub function: Option<&'a str>,
}

/// What one request costs on one worker type.
#[derive(Debug, Clone)]
pub(crate) struct Charge {
    pub worker_type: Arc<str>,
    pub amount: NanoDollars,
}

/// The account of one worker, from before its process to its end. Cheap to share.
#[derive(Clone)]
pub(crate) struct Account {
    inner: Arc<AccountInner>,
}

struct AccountInner {
    worker_type: Arc<str>,
    worker: WorkerId,
    opened: Instant,
    /// Held only for some arithmetic, and never while taking another lock.
    ledger: Mutex<Ledger>,
    requests: Arc<RequestCosts>,
    tally: Arc<Tally>,
}

impl AccountInner {
    fn moment(&self, at: Instant) -> Moment {
        Moment::try_from(at.saturating_duration_since(self.opened).as_nanos()).unwrap_or(Moment::MAX)
    }

    /// Read under the ledger's lock, so that times are in order.
    fn with<T>(&self, step: impl FnOnce(&mut Ledger, Moment) -> T) -> T {
        let mut ledger = self.ledger.lock();
        let now = self.moment(Instant::now());
        step(&mut ledger, now)
    }
}

impl Account {
    pub(super) fn new(
        worker_type: &Arc<str>,
        worker: &WorkerId,
        price: NanoDollars,
        requests: &Arc<RequestCosts>,
        tally: &Arc<Tally>,
    ) -> Self {
        let inner = AccountInner {
            worker_type: worker_type.clone(),
            worker: worker.clone(),
            opened: Instant::now(),
            ledger: Mutex::new(Ledger::new(price)),
            requests: requests.clone(),
            tally: tally.clone(),
        };
        Self { inner: Arc::new(inner) }
    }

    /// Its process was started at this moment.
    pub(crate) fn spawned(&self, at: Instant) {
        let at = self.inner.moment(at);
        self.inner.ledger.lock().spawned(at);
    }

    /// It takes work from now on.
    pub(crate) fn ready(&self) {
        self.inner.with(Ledger::ready);
    }

    /// A job or request begins on it.
    pub(crate) fn begin(&self) -> CostShare {
        self.begin_with(Weight::ORDINARY)
    }

    /// A job begins that waits for a batch, and pays for the time of others only if nothing else runs.
    pub(crate) fn begin_waiting(&self) -> CostShare {
        self.begin_with(Weight::NONE)
    }

    /// A batch of these jobs with these costs begins. Costs of zero: none of them runs any more.
    pub(crate) fn weigh(&self, jobs: &mut [(&mut CostShare, u64)]) {
        let costs: Vec<u64> = jobs.iter().map(|(_, cost)| *cost).collect();
        self.inner.with(|ledger, now| {
            for ((share, _), weight) in jobs.iter_mut().zip(Weight::of_batch(&costs)) {
                if let Some(reading) = &mut share.reading {
                    ledger.reweigh(reading, weight, now);
                }
            }
        });
    }

    fn begin_with(&self, weight: Weight) -> CostShare {
        let reading = self.inner.with(|ledger, now| ledger.began(weight, now));
        CostShare {
            inner: self.inner.clone(),
            reading: Some(reading),
            charged_to: None,
            charged: NanoDollars(0),
            problem: None,
            answered: None,
        }
    }

    /// Its process has ended.
    pub(crate) fn gone(&self) {
        self.inner.with(Ledger::gone);
    }

    /// Its sums, and whether they are final.
    pub(super) fn sums(&self) -> (Sums, bool) {
        self.inner.with(|ledger, now| (ledger.sums(now), ledger.is_closed()))
    }
}

/// A job or request that runs on a worker and is charged its share until this ends.
pub(crate) struct CostShare {
    inner: Arc<AccountInner>,
    /// `None` once it has ended.
    reading: Option<Reading>,
    charged_to: Option<OwnedChargedTo>,
    /// What it was charged before.
    charged: NanoDollars,
    /// What went wrong last.
    problem: Option<String>,
    /// The status of HTTP that a worker answered with.
    answered: Option<u16>,
}

struct OwnedChargedTo {
    request_id: Arc<str>,
    function: Option<Arc<str>>,
}

impl CostShare {
    /// Sets who is charged, for when the end does not.
    pub(crate) fn charge_to(&mut self, request_id: Arc<str>) {
        self.charged_to = Some(OwnedChargedTo { request_id, function: None });
    }

    /// Names the function that it is for, after the request.
    pub(crate) fn set_function(&mut self, function: Option<&str>) {
        if let Some(charged_to) = &mut self.charged_to {
            charged_to.function = function.map(Arc::from);
        }
    }

    /// Its cost since it was last charged.
    pub(crate) fn so_far(&self) -> Charge {
        let amount = self
            .reading
            .map_or(NanoDollars(0), |reading| self.inner.with(|ledger, now| ledger.so_far(reading, now)));
        Charge { worker_type: self.inner.worker_type.clone(), amount }
    }

    /// Charges its cost so far. It continues for the same request, because the code that ends it may not know the
    /// request.
    pub(crate) fn charge(&mut self, charged_to: &ChargedTo<'_>) -> NanoDollars {
        let Some(reading) = &mut self.reading else { return NanoDollars(0) };
        let amount = self.inner.with(|ledger, now| ledger.charge(reading, now));
        self.charged.0 = self.charged.0.saturating_add(amount.0);
        self.charge_to(charged_to.request_id.as_ref().into());
        self.set_function(charged_to.function);
        self.book(amount, None);
        amount
    }

    /// Ends it and returns the cost since it was last charged. `charged_to` is used if none is set.
    pub(crate) fn end(&mut self, charged_to: Option<&ChargedTo<'_>>) -> NanoDollars {
        let Some(reading) = self.reading.take() else { return NanoDollars(0) };
        let amount = self.inner.with(|ledger, now| ledger.ended(reading, now));
        self.book(amount, charged_to);
        amount
    }

    fn book(&self, amount: NanoDollars, charged_to: Option<&ChargedTo<'_>>) {
        let AccountInner { worker_type, worker, requests, tally, .. } = &*self.inner;
        let (request_id, function) = match (&self.charged_to, charged_to) {
            (Some(own), _) => (Some(&*own.request_id), own.function.as_deref()),
            (None, Some(charged_to)) => (Some(&*charged_to.request_id), charged_to.function),
            (None, None) => (None, None),
        };
        tally.charged(function, amount);
        if let Some(request_id) = request_id {
            requests.add(request_id, worker_type, function, worker, amount);
        }
    }

    /// A request ended for which it was held: how, after which wait, and how long it ran.
    pub(crate) fn record_end(&mut self, ending: Ending, waited: Duration, ran: Duration) {
        let charged_to = self.charged_to.as_ref();
        let function = charged_to.and_then(|charged_to| charged_to.function.as_deref());
        self.inner.tally.ended(function, ending, waited, ran);
        let Some(charged_to) = charged_to else { return };
        self.inner.tally.hops.add(Hop {
            request_id: charged_to.request_id.to_string(),
            job: None,
            function: function.map(str::to_owned),
            worker: Some(self.inner.worker.clone()),
            status: match ending {
                Ending::Completed => JobStatus::Completed,
                Ending::Failed => JobStatus::Failed,
                Ending::TimedOut => JobStatus::TimedOut,
                Ending::Cancelled => JobStatus::Cancelled,
            },
            ended_ms: now_ms(),
            waited,
            ran,
            cost: NanoDollars(self.charged.0.saturating_add(self.so_far().amount.0)),
            error: self.problem.take().filter(|_| ending == Ending::Failed),
            answered: self.answered,
        });
    }

    /// The worker answered the request for which it is held.
    pub(crate) fn record_answer(&mut self, status: u16) {
        self.answered = Some(status);
    }

    /// Something went wrong with the request for which it is held.
    pub(crate) fn record_problem(&mut self, message: &str) {
        self.problem = Some(message.to_owned());
        let request_id = self.charged_to.as_ref().map(|charged_to| &*charged_to.request_id);
        self.inner.tally.record_problem(message, request_id, Some(&self.inner.worker));
    }
}

impl Drop for CostShare {
    fn drop(&mut self) {
        self.end(None);
    }
}
