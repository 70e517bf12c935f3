//! Prepares deployments: the contents of a release, and what changes when it goes live.
//!
//! Does not print and does not contact a target. `artifact` hashes a build's output, `plan` compares two releases,
//! `schema` compares their schemas, `saved` stores a plan for later.
mod artifact;
mod cost;
mod field_change;
mod plan;
mod saved;
mod schema;

pub(crate) use artifact::{digest_of_images, release_of, release_of_images, unbuilt_release};
pub(crate) use field_change::FieldChange;
pub(crate) use plan::{Action, Change, Plan};
pub(crate) use saved::{SavedPlan, SavedPlanError};

#[cfg(test)]
pub(crate) mod fixtures;
