//! The provider's client API, with additions: idempotency keys, listings, dead jobs, server-sent events.
//!
//! It handles requests and responses; jobs are in the queue. `submit` takes jobs in and `check` checks them, `read` shows
//! one job, `change` changes it, `overview` shows a whole endpoint. `find` finds the queue of a job.
mod change;
mod check;
mod find;
mod overview;
mod read;
mod submit;
mod wait;

pub(super) use change::{cancel, purge, requeue_all_dead, requeue_dead, retry};
pub(super) use overview::{dead, health, metrics, requests};
pub(super) use read::{status, status_sync, stream};
pub(super) use submit::{run, runsync};
