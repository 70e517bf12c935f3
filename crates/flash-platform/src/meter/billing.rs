//! The books of a platform: the accounts of all its workers, by type, and what requests have cost.
use std::{collections::BTreeMap, sync::Arc};

use flash_protocol::catalogue::NanoDollars;
use parking_lot::{Mutex, MutexGuard};

use super::{account::Account, ledger::Sums, requests::RequestCosts, totals::CostTotals};
use crate::{tally::Tally, worker_id::WorkerId};

/// All books of a platform. Cheap to share.
#[derive(Clone, Default)]
pub(crate) struct Billing {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    types: Mutex<BTreeMap<Arc<str>, TypeAccounts>>,
    requests: Arc<RequestCosts>,
}

/// The workers of one type, of all releases.
#[derive(Default)]
struct TypeAccounts {
    price: Option<NanoDollars>,
    tally: Arc<Tally>,
    /// Accounts that may still change.
    open: Vec<Account>,
    /// Of all others.
    closed: Sums,
}

impl TypeAccounts {
    /// Adds up what will not change any more; the sums of everything.
    fn sums(&mut self) -> Sums {
        let Self { open, closed, .. } = self;
        let mut living = Sums::default();
        open.retain(|account| {
            let (sums, is_final) = account.sums();
            *(if is_final { &mut *closed } else { &mut living }) += sums;
            !is_final
        });
        let mut all = *closed;
        all += living;
        all
    }
}

/// The cost of the workers of one type.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TypeBill {
    /// The price per second in the latest release. `None` if no price is published; then everything is free.
    pub price: Option<NanoDollars>,
    pub sums: Sums,
}

impl Billing {
    fn types(&self) -> MutexGuard<'_, BTreeMap<Arc<str>, TypeAccounts>> {
        self.shared.types.lock()
    }

    /// For the workers of one type in one release. Without a price they cost nothing.
    pub(crate) fn meter(&self, worker_type: &str, price: Option<NanoDollars>) -> Meter {
        let worker_type: Arc<str> = worker_type.into();
        let mut types = self.types();
        let accounts = types.entry(worker_type.clone()).or_default();
        accounts.price = price;
        let tally = accounts.tally.clone();
        drop(types);
        Meter { worker_type, price, tally, billing: self.clone() }
    }

    /// What everything has cost up to now.
    pub(crate) fn totals(&self) -> CostTotals {
        let mut totals = CostTotals::default();
        for (name, accounts) in self.types().iter_mut() {
            totals.add(name, &accounts.sums(), &accounts.tally);
        }
        totals
    }

    /// What each worker type has cost up to now.
    pub(crate) fn bill(&self) -> BTreeMap<Arc<str>, TypeBill> {
        let bill_of = |accounts: &mut TypeAccounts| TypeBill { price: accounts.price, sums: accounts.sums() };
        self.types().iter_mut().map(|(name, accounts)| (name.clone(), bill_of(accounts))).collect()
    }

    /// What requests have cost.
    pub(crate) fn requests(&self) -> &RequestCosts {
        &self.shared.requests
    }
}

/// Opens the accounts of the workers of one pool.
pub(crate) struct Meter {
    worker_type: Arc<str>,
    price: Option<NanoDollars>,
    tally: Arc<Tally>,
    billing: Billing,
}

impl Meter {
    /// Of one second.
    pub(crate) fn price(&self) -> Option<NanoDollars> {
        self.price
    }

    /// The statistics of this worker type.
    pub(crate) fn tally(&self) -> &Arc<Tally> {
        &self.tally
    }

    /// An account for a worker whose process has not started yet.
    pub(crate) fn open(&self, worker: &WorkerId) -> Account {
        let price = self.price.unwrap_or_default();
        let account =
            Account::new(&self.worker_type, worker, price, &self.billing.shared.requests, &self.tally);
        let mut types = self.billing.types();
        let accounts = types.entry(self.worker_type.clone()).or_default();
        // Done here, so that the list only contains existing workers, even if the bill is never read.
        accounts.sums();
        accounts.open.push(account.clone());
        account
    }
}

#[cfg(test)]
impl Account {
    /// Of a worker that costs nothing.
    pub(crate) fn free() -> Self {
        Self::priced(0)
    }

    /// The ledger of a worker with this price per second, whose process has started.
    pub(crate) fn priced(price: u64) -> Self {
        let account = Billing::default().meter("test", Some(NanoDollars(price))).open(&"w".into());
        account.spawned(std::time::Instant::now());
        account
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::{super::account::ChargedTo, *};

    fn charged_to(request_id: &str) -> ChargedTo<'_> {
        ChargedTo { request_id: request_id.into(), function: Some("f") }
    }

    #[test]
    fn workers_that_are_gone_stay_in_the_bill_and_not_in_memory() {
        let billing = Billing::default();
        let meter = billing.meter("gpu", Some(NanoDollars(1_000_000)));
        for worker in 0..100 {
            let account = meter.open(&worker.to_string().into());
            account.spawned(Instant::now());
            account.ready();
            account.gone();
        }
        let bill = billing.bill();
        assert_eq!(bill["gpu"].sums.workers, 100);
        assert_eq!(bill["gpu"].sums.bill, 100 * 1_000_000, "each a second that has begun");
        assert!(billing.types()["gpu"].open.is_empty());
    }

    #[test]
    fn shares_are_put_down_to_their_requests_and_add_up() {
        let billing = Billing::default();
        let meter = billing.meter("gpu", Some(NanoDollars(u64::from(u32::MAX) * 1000)));
        let account = meter.open(&"w".into());
        account.spawned(Instant::now());
        let (mut one, mut two) = (account.begin(), account.begin());
        let before = two.charge(&charged_to("two"));
        let first = one.end(Some(&charged_to("one")));
        account.gone();
        drop(two);
        let cost = |request: &str| billing.requests().of(request).unwrap().total;
        assert_eq!(cost("one"), first);
        assert!(cost("two") >= before);
        let bill = billing.bill()["gpu"].sums;
        assert_eq!(bill.run, u128::from(cost("one").0 + cost("two").0));
        assert_eq!(bill.bill, bill.start + bill.run + bill.idle());
    }

    #[test]
    fn a_worker_of_an_unknown_price_is_free_and_counted() {
        let billing = Billing::default();
        let account = billing.meter("gpu", None).open(&"w".into());
        account.spawned(Instant::now());
        account.begin().end(Some(&charged_to("r")));
        let bill = billing.bill()["gpu"];
        assert_eq!((bill.price, bill.sums.bill, bill.sums.workers), (None, 0, 1));
        assert_eq!(billing.requests().of("r").map(|cost| cost.hops.len()), Some(1));
    }
}
