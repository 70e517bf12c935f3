//! Workers that are containers of built images.
//!
//! `life` starts one by the engine's client and ends it by the engine: killing the client alone would leave
//! the container running. `removal` is the same for a `flash` that is gone.
mod life;
mod removal;

/// How long a container may take to be made. For so long its client is asked to end and not killed.
const MAKING: std::time::Duration = std::time::Duration::from_secs(60);

pub(super) use life::{Container, Spec};
pub(super) use removal::Removal;
