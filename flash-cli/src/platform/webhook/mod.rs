//! Webhooks: one POST at the end of each job that asks for it, signed, and tried again when refused.
//!
//! Owns delivery; which job tells whom is the queue's. A delivery is signed as the Standard Webhooks
//! specification says (<https://www.standardwebhooks.com>), so that a receiver verifies it with a library.
//! A receiver that is slow or gone holds up its own deliveries and no others ([`lines`](self)); which
//! addresses may be reached at all is [`Reach`]'s decision, taken after names are resolved.
mod courier;
mod lines;
mod post;
mod reach;
mod secret;

pub(crate) use courier::Courier;
pub(crate) use reach::Reach;
pub(crate) use secret::Secret;
