//! Weights of models: where their files lie on this machine, and how they get there.
//!
//! - [`HubCache`]: the directory that `huggingface_hub` and Flash share. Looking something up there needs no network.
//! - [`ModelLock`]: the file `flash.models.lock` beside `Cargo.toml`, with commit, sizes and hashes.
//! - [`locate`]: the directory that a worker loads its model from.
//! - `download` (with the feature of that name): fetching and verifying.
//!
//! What a worker does with the files, and who is told about progress, is decided elsewhere.
#![warn(unreachable_pub)]

mod cache;
#[cfg(feature = "download")]
pub mod download;
mod locate;
mod lock;
mod patterns;

pub use cache::{HubCache, Snapshot};
pub use locate::{NotLocated, Place, directory_of, locate};
pub use lock::{LOCK_FILE, LockError, LockedFile, LockedModel, ModelLock};
pub use patterns::{Patterns, files_below};
