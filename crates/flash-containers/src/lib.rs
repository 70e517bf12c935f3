//! This machine's container engines: podman and docker.
//!
//! `find` chooses one and finds out what it can do here, `call` makes its command lines, `invoke` calls it, `import`
//! imports a build's images, `external` fetches images that were built elsewhere.
//!
//! Knows images and containers, not workers: `flash-platform` decides which containers run and for how long.
#![warn(unreachable_pub)]

mod call;
mod error;
mod external;
mod find;
mod import;
mod invoke;
mod kind;

pub use call::{Call, ContainerSpec, Engine, Resources};
pub use error::{EngineError, PullProblem};
pub use external::obtain;
pub use find::{Wanted, find};
pub use import::{Import, Stored, import};
pub use invoke::Removed;
pub use kind::Kind;
