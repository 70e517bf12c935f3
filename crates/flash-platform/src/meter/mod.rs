//! What workers cost, and which job or request pays for it.
//!
//! It keeps the books of all workers since the platform started: start, run and idle time at the price of their type,
//! and the share of each job and request. The queue and the balancer hold a [`CostShare`] for each, which marks when
//! work begins and ends. Prices come from the catalogue.
mod account;
mod billing;
mod ledger;
mod requests;
mod totals;

pub(crate) use account::{Account, Charge, ChargedTo, CostShare};
pub(crate) use billing::{Billing, Meter, TypeBill};
pub(crate) use ledger::Sums;
pub(crate) use requests::{Hop, KEPT_REQUESTS, RequestCost};
pub(crate) use totals::OTHERS;
pub use totals::{CostTotals, FunctionTotal, TypeTotal};
