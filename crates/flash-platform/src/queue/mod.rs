//! The jobs of one worker type in one release, from submission to a final state.
//!
//! It holds jobs, leases and waiting clients. Workers are only consumers with a number of slots; the autoscaler decides
//! how many run, and the supervisor keeps them alive. The current state is in memory ([`jobs`]); what was promised to
//! clients is also in the [`store`]. Invariant: a consumer's leases are exactly the jobs that run on it, plus stopped
//! jobs that it has not released yet.
//!
//! [`endpoint_queue`] is the queue. What one can do with it beyond its core is in a file for each: [`intake`],
//! [`finishing`], [`listing`], [`shown`], [`stream`], [`polling`], [`lost`], [`feeding`], [`abandon`], [`hand_over`] and [`purge`].
mod abandon;
mod answers;
mod backlog;
mod budget;
mod chunks;
mod clock;
mod consumer;
mod delayed;
mod ended;
mod endpoint_queue;
mod extras;
mod feeding;
mod finishing;
mod guard;
mod hand_over;
mod id;
mod intake;
mod job;
mod jobs;
mod keys;
mod limits;
mod listing;
mod load;
mod loss;
mod lost;
mod marks;
#[cfg(test)]
mod model;
mod outbox;
mod polling;
mod purge;
mod retrying;
mod settings;
mod shown;
mod state;
mod store;
mod stored_job;
mod stream;
#[cfg(test)]
mod tests;
mod ticket;
mod wait_queue;

pub(crate) use abandon::Abandoned;
pub(crate) use answers::{ChangeError, Due, Reported};
pub(crate) use backlog::{Backlog, Claim};
pub(crate) use budget::{Arriving, Budget};
pub(crate) use chunks::{Offered, Stream, StreamEnd};
pub(crate) use consumer::{DeliveryMode, LeasedJob};
pub(crate) use ended::{Ended, Next, OnEnd};
pub(crate) use endpoint_queue::Queue;
pub(crate) use id::JobId;
pub(crate) use intake::{Idempotency, Submission, SubmitError, Submitted};
pub(crate) use job::{MAX_SHOWN_INPUT, Origin, Waiter};
pub(crate) use limits::Limits;
pub(crate) use listing::Filter;
pub(crate) use load::{Load, Stuck};
pub(crate) use outbox::{JobEnded, MAX_UNDELIVERED, WebhookOutbox};
pub(crate) use settings::QueueContext;
pub(crate) use shown::{Shown, ShownJob};
pub(crate) use state::Outcome;
pub use store::{Durability, OpenError};
pub(crate) use store::{Failing, SetAside, Store, StoredSchedule};
