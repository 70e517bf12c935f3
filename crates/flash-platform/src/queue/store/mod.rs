//! The durable store of the queues: SQLite, one writer, group commits.
//!
//! It manages the file and its schema. While a platform runs, the queues in memory hold the current state; the store
//! is what the next platform starts from. A change gets a ticket at once and is durable when [`Store::committed`]
//! returns. Code that promises something to a client waits for that first. Changes are committed in ticket order, so
//! the durable state is always a past state.
mod durable_store;
mod open_error;
#[cfg(test)]
mod power_loss;
mod record;
mod schema;
mod shared;
mod writer;

pub(super) use durable_store::Opened;
pub(crate) use durable_store::{SetAside, Store};
pub use open_error::{Durability, OpenError};
pub(crate) use record::StoredSchedule;
pub(super) use record::{Change, End, Found, Record};
pub(crate) use shared::Failing;
