//! The account of a worker, and the stakes of jobs and requests in it.
use std::{
    borrow::Cow,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use flash_sdk::catalogue::NanoDollars;

use super::{
    ledger::{Ledger, Moment, Reading, Sums},
    requests::RequestCosts,
};
use crate::platform::{
    queue::WorkerId,
    tally::{Ending, Tally},
};

/// Who pays a share.
#[derive(Debug, Clone)]
pub(crate) struct Payer<'a> {
    pub request_id: Cow<'a, str>,
    pub function: Option<&'a str>,
}

/// What one request costs on one worker type.
#[derive(Debug, Clone)]
pub(crate) struct Share {
    pub worker_type: Arc<str>,
    pub amount: NanoDollars,
}

/// The account of one worker, from before its process to its end. Cheap to share.
#[derive(Clone)]
pub(crate) struct Account {
    books: Arc<Books>,
}

struct Books {
    worker_type: Arc<str>,
    worker: WorkerId,
    opened: Instant,
    /// Held only for some arithmetic, and never while taking another lock.
    ledger: Mutex<Ledger>,
    requests: Arc<RequestCosts>,
    tally: Arc<Tally>,
}

impl Books {
    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        // As everywhere: the data is consistent after the last complete step.
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn moment(&self, at: Instant) -> Moment {
        Moment::try_from(at.saturating_duration_since(self.opened).as_nanos()).unwrap_or(Moment::MAX)
    }

    /// Read under the ledger's lock, so that times are in order.
    fn with<T>(&self, step: impl FnOnce(&mut Ledger, Moment) -> T) -> T {
        let mut ledger = self.ledger();
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
        let books = Books {
            worker_type: worker_type.clone(),
            worker: worker.clone(),
            opened: Instant::now(),
            ledger: Mutex::new(Ledger::new(price)),
            requests: requests.clone(),
            tally: tally.clone(),
        };
        Self { books: Arc::new(books) }
    }

    /// Its process was started at this moment.
    pub(crate) fn spawned(&self, at: Instant) {
        let at = self.books.moment(at);
        self.books.ledger().spawned(at);
    }

    /// It takes work from now on.
    pub(crate) fn ready(&self) {
        self.books.with(Ledger::ready);
    }

    /// A job or request begins on it.
    pub(crate) fn begin(&self) -> Stake {
        let reading = self.books.with(Ledger::began);
        Stake { books: self.books.clone(), reading: Some(reading), payer: None }
    }

    /// Its process has ended.
    pub(crate) fn gone(&self) {
        self.books.with(Ledger::gone);
    }

    /// Its sums, and whether they are final.
    pub(super) fn sums(&self) -> (Sums, bool) {
        self.books.with(|ledger, now| (ledger.sums(now), ledger.is_closed()))
    }
}

/// A job or request that runs on a worker and pays its share until this ends.
pub(crate) struct Stake {
    books: Arc<Books>,
    /// `None` once it has ended.
    reading: Option<Reading>,
    payer: Option<OwnedPayer>,
}

struct OwnedPayer {
    request_id: Arc<str>,
    function: Option<Arc<str>>,
}

impl Stake {
    /// Sets its payer, for when the end does not.
    pub(crate) fn is_for(&mut self, request_id: Arc<str>) {
        self.payer = Some(OwnedPayer { request_id, function: None });
    }

    /// Names the function that it is for, after the request.
    pub(crate) fn runs(&mut self, function: Option<&str>) {
        if let Some(payer) = &mut self.payer {
            payer.function = function.map(Arc::from);
        }
    }

    /// Its cost since it was last charged.
    pub(crate) fn so_far(&self) -> Share {
        let amount = self
            .reading
            .map_or(NanoDollars(0), |reading| self.books.with(|ledger, now| ledger.so_far(reading, now)));
        Share { worker_type: self.books.worker_type.clone(), amount }
    }

    /// Charges its cost so far. It continues for the same payer, because the code that ends it may not know the
    /// payer.
    pub(crate) fn charge(&mut self, payer: &Payer<'_>) -> NanoDollars {
        let Some(reading) = &mut self.reading else { return NanoDollars(0) };
        let amount = self.books.with(|ledger, now| ledger.charge(reading, now));
        self.is_for(payer.request_id.as_ref().into());
        self.runs(payer.function);
        self.put_down(amount, None);
        amount
    }

    /// Ends it and returns the cost since it was last charged. `payer` is used if it has no payer.
    pub(crate) fn end(&mut self, payer: Option<&Payer<'_>>) -> NanoDollars {
        let Some(reading) = self.reading.take() else { return NanoDollars(0) };
        let amount = self.books.with(|ledger, now| ledger.ended(reading, now));
        self.put_down(amount, payer);
        amount
    }

    fn put_down(&self, amount: NanoDollars, payer: Option<&Payer<'_>>) {
        let Books { worker_type, worker, requests, tally, .. } = &*self.books;
        let (request_id, function) = match (&self.payer, payer) {
            (Some(own), _) => (Some(&*own.request_id), own.function.as_deref()),
            (None, Some(payer)) => (Some(&*payer.request_id), payer.function),
            (None, None) => (None, None),
        };
        tally.charged(function, amount);
        if let Some(request_id) = request_id {
            requests.add(request_id, worker_type, function, worker, amount);
        }
    }

    /// A request ended for which it was held: how, and after which time.
    pub(crate) fn served(&self, ending: Ending, ran: Duration) {
        let function = self.payer.as_ref().and_then(|payer| payer.function.as_deref());
        self.books.tally.ended(function, ending, ran);
    }

    /// Something went wrong with the request for which it is held.
    pub(crate) fn went_wrong(&self, message: &str) {
        let request_id = self.payer.as_ref().map(|payer| &*payer.request_id);
        self.books.tally.went_wrong(message, request_id, Some(&self.books.worker));
    }
}

impl Drop for Stake {
    fn drop(&mut self) {
        self.end(None);
    }
}
