//! Fetches models from the Hub into its cache, and verifies what is there.
//!
//! A file is fetched into `blobs/HASH.incomplete`, which a later try continues, whatever ended the one before. It gets
//! its name only when its hash is right and it is on the disk. So what has a name is whole, and a link in `snapshots`
//! leads to whole files. Two processes never fetch the same file at once.
mod blob;
mod blob_lock;
mod content;
mod error;
mod hub;
mod link;
mod listing;
mod prune;
mod pull;
mod retry;
mod verify;

pub use error::DownloadError;
pub use hub::{Hub, HubSettings, Token};
pub use prune::{Pruned, prune};
pub use pull::{Progress, Pulled, Request, pull};
pub use retry::RetryPolicy;
pub use verify::{Damage, discard, verify};
