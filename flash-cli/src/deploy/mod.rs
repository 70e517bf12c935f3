//! Deployments, decided and prepared: what a release consists of, and what changes when it goes live.
//!
//! Knows nothing of printing and asks no target. `artifact` hashes what a build made, `plan` compares two releases,
//! `schema` their schemas, `saved` keeps a plan for later.
mod artifact;
mod cost;
mod plan;
mod saved;
mod schema;

pub(crate) use artifact::{digest_of_images, release_of, release_of_images, unbuilt_release};
pub(crate) use plan::{Change, FieldChange, Plan};
pub(crate) use saved::{SavedPlan, SavedPlanError};

#[cfg(test)]
pub(crate) mod fixtures;
