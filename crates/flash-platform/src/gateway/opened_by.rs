//! Which key let a request through.
use super::keys::KeyHash;

/// An extension of requests, for what is done in the name of a key. The key itself is taken out of them.
#[derive(Clone, Copy)]
pub(super) struct OpenedBy(pub KeyHash);
