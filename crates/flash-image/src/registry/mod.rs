//! Transfers images to and from a registry, with the OCI distribution protocol.
//!
//! Handles everything needed to move blobs over an unreliable network: credentials, tokens, retries, and uploads
//! and downloads that resume where they stopped. The content of an image is up to other modules. A push guarantees:
//! blobs are there before the manifest, the manifest before its attachments, all of it before the tag, and the tag
//! is read back.
//!
//! The client is our own, based on reqwest. `oci-client` hides the URL of an upload and its token, so an upload
//! could not resume after a break without a second client, and its errors lose the status and `Retry-After` that
//! decide about another try.
//!
//! A blob is sent in one request, not in chunks: some registries reject chunks, those that can resume inside a
//! broken request need none, and Docker's own registry forgets an upload whose request broke, whatever its size.
mod address;
mod attach;
mod auth;
mod blocking;
mod connection;
mod credential_helper;
mod download;
mod error;
mod login;
mod logins;
mod manifest;
mod probe;
mod progress;
mod pull;
mod push;
mod range;
mod retry;
mod secret;
mod transport;
mod upload;

#[cfg(test)]
mod tests;

pub use address::reference;
pub use attach::Attachment;
pub use connection::Registry;
pub use error::RegistryError;
pub use login::{LoginError, Origin, REGISTRY_VARIABLES};
pub use logins::{Logins, credential_files};
pub use probe::{image_exists, is_on_this_machine, is_public};
pub use progress::{OnProgress, Progress};
pub use pull::{pull, resolve};
pub use push::push;
pub use retry::RetryPolicy;
