//! The service's permanent data in one SQLite file: environments, releases, keys, secrets, costs.
//!
//! Each change is on disk when its function returns. Everything here blocks; the service calls it on threads for
//! blocking work. Which changes are allowed is decided elsewhere.
mod access;
mod costs;
mod damage;
mod environment_key;
mod environments;
mod error;
mod file;
mod releases;
mod scales;
mod schema;

pub(super) use costs::{FunctionSpent, Spent, WorkerSpent};
pub(super) use environment_key::EnvironmentKey;
pub(super) use environments::StoredEnvironment;
pub(super) use error::DatabaseError;
pub(super) use file::Database;
pub(super) use releases::{NewRow, StoredRelease};

#[cfg(test)]
mod power_loss;
#[cfg(test)]
mod tests;
