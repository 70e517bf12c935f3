//! Images to and from a registry, by the OCI distribution protocol.
//!
//! Owns what it takes to move blobs over a network that breaks: credentials, tokens, retries, uploads and
//! downloads that go on where they stopped. Leaves to others what is in an image. What a push promises:
//! blobs are there before the manifest, the manifest before what is attached to it, all of it before the tag,
//! and the tag is read back.
//!
//! The client is our own over reqwest. `oci-client` hides the address of an upload and the token it got, so
//! an upload could not go on after a break without a second client beside it, and its errors lose the status
//! and `Retry-After` that decide about another try.
//!
//! A blob is sent in one request, not in chunks: some registries take no chunks, those that can go on inside
//! a broken request need none, and Docker's own registry forgets an upload whose request broke whatever its
//! size.
mod address;
mod attach;
mod auth;
mod connection;
mod download;
mod error;
mod helper;
mod logins;
mod look;
mod patience;
mod pull;
mod push;
mod secret;
mod transport;
mod upload;

#[cfg(test)]
mod tests;

pub(crate) use address::reference;
pub(crate) use attach::Attachment;
pub(crate) use connection::Registry;
pub(crate) use error::RegistryError;
pub(crate) use logins::{Logins, REGISTRY_VARIABLES, credential_files};
pub(crate) use look::{is_on_this_machine, is_public, is_there};
pub(crate) use patience::Patience;
pub(crate) use pull::pull;
pub(crate) use push::push;

use oci_spec::image::Digest;

/// How far one blob is. `done` falls back to what the other side has when a connection breaks.
#[derive(Debug, Clone)]
pub(crate) struct Progress {
    pub digest: Digest,
    pub done: u64,
    pub total: u64,
}

/// Told of progress, from the task that moves the blob: it must not block.
pub(crate) type OnProgress<'a> = &'a (dyn Fn(Progress) + Sync);
