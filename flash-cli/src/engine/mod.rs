//! Container engines of this machine: podman and docker.
//!
//! `find` chooses one and learns what it can do here, `call` says with which words it is called, `ask` calls
//! it, `import` gives it the images of a build. Knows images and containers, not workers: how long a
//! container lives is decided elsewhere.
mod ask;
mod call;
mod find;
mod import;

pub(crate) use ask::{EngineError, Removed};
pub(crate) use call::{Call, ContainerSpec, Engine, Kind, Resources};
pub(crate) use find::{Wanted, find};
pub(crate) use import::{Import, Stored, import};
