//! Workers that are containers of built images.
//!
//! `lifecycle` starts a container with the engine's client and ends it through the engine, because killing only the
//! client would leave the container running. `removal` removes containers of a `flash` that has ended.
mod lifecycle;
mod removal;

/// How long creating a container may take. During that time, its client is asked to end and not killed.
const MAKING: std::time::Duration = std::time::Duration::from_secs(60);

pub(super) use lifecycle::{Container, Spec};
pub(super) use removal::Removal;
