//! The packages of the workspace, as `cargo metadata` lists them.
use std::path::PathBuf;

use serde::Deserialize;

use crate::{
    command::{self, cargo},
    failure::Failure,
};

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

/// A package of the workspace.
#[derive(Deserialize)]
pub(crate) struct Package {
    pub name: String,
    /// Registries to which it may be published; `None` for any.
    pub publish: Option<Vec<String>>,
    pub dependencies: Vec<Dependency>,
    pub targets: Vec<Target>,
}

/// A package that another depends on.
#[derive(Deserialize)]
pub(crate) struct Dependency {
    pub name: String,
    /// `None` for a normal dependency.
    pub kind: Option<String>,
    /// `cfg(fuzzing)` and the like.
    pub target: Option<String>,
    /// `None` for a package of a registry.
    pub path: Option<PathBuf>,
}

/// What is compiled on its own: a library, a binary, a test.
#[derive(Deserialize)]
pub(crate) struct Target {
    pub kind: Vec<String>,
    /// Its root: `lib.rs` for a library.
    pub src_path: PathBuf,
}

/// All packages of the workspace.
///
/// # Errors
/// If cargo cannot list them.
pub(crate) fn packages() -> Result<Vec<Package>, Failure> {
    let printed = command::read(&mut cargo(&["metadata", "--no-deps", "--format-version", "1"]))?;
    let metadata: Metadata =
        serde_json::from_str(&printed).map_err(Failure::at("`cargo metadata` printed something else"))?;
    Ok(metadata.packages)
}
