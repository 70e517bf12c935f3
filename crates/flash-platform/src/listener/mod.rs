//! Client connections, from `accept` to their end: how many are allowed, how long a client may take to send a
//! request, and what happens to the rest of a request's body once its answer is known.
//!
//! It knows HTTP framing, but not what is requested. `descriptors` shares the open files of the process among its
//! listeners, `connections` accepts connections and closes idle ones, `received` is the body of a request.
//!
//! An idle connection does not block others: it ends after [`HEAD_TIME`], or sooner if another connection needs its
//! permit.
mod connections;
mod descriptors;
mod received;

use std::time::Duration;

pub use connections::serve;
pub use descriptors::{ConnectionShare, Listeners};
pub(crate) use descriptors::{Descriptors, restore_limit};
pub use received::Received;
pub(crate) use received::Stalled;

/// The time limit for the head of a request, from the start of the connection or the end of the last answer.
const HEAD_TIME: Duration = Duration::from_secs(60);
/// While a request's body is read, some of it must arrive within this time.
const BODY_PAUSE: Duration = Duration::from_secs(60);
/// While an answer is written, the client must accept some of it within this time.
const WRITE_PAUSE: Duration = Duration::from_secs(120);
