//! Connections of clients, from `accept` to their end: how many there may be, how long one may take to say what it
//! wants, and what of a request's body is still to come when its answer is known.
//!
//! Knows HTTP's framing, not what is asked for. `descriptors` shares the open files of this process out among its
//! listeners, `connections` accepts and lets go of those that say nothing, `received` is the body of a request.
//!
//! A connection that says nothing costs others nothing: it ends after [`HEAD_TIME`], and sooner when somebody else
//! needs its place.
mod connections;
mod descriptors;
mod received;

use std::time::Duration;

pub(crate) use connections::serve;
pub(crate) use descriptors::{Descriptors, Listeners, Share, restore_limit};
pub(crate) use received::{Received, Stalled};

/// From the moment that a connection is open, or that the last answer on it is over, until the head of the next
/// request is there.
const HEAD_TIME: Duration = Duration::from_secs(60);
/// While the body of a request is waited for, some of it comes within this time.
const BODY_PAUSE: Duration = Duration::from_secs(60);
/// While an answer is written, the client takes some of it within this time.
const WRITE_PAUSE: Duration = Duration::from_secs(120);
