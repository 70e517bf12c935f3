//! Prepares deployments: the contents of a release, and plans in files.
//!
//! Does not print and does not contact a target. `artifact` hashes a build's output, `saved` stores a plan for later. What
//! a plan is belongs to `flash-plan`.
mod artifact;
mod saved;

pub(crate) use artifact::{digest_of_images, release_of, release_of_images, unbuilt_release};
pub(crate) use saved::{SavedPlan, SavedPlanError};

#[cfg(test)]
pub(crate) use flash_plan::fixtures;
