//! OCI images, made and moved without a container daemon.
//!
//! Knows files, layers and registries; not cargo, and not what is in a binary. Everything here reads and
//! writes files and waits for them: called from an async task, it belongs on a blocking thread.
mod layout;
#[allow(dead_code, unused_imports, reason = "`flash build` will use it")]
pub(crate) mod registry;

pub(crate) use layout::{BlobWriter, Layout, LayoutError};
