//! Whether models are fast enough in dev builds.
use super::{Finding, Project};
use crate::project::MODEL_PROFILE;

const NAME: &str = "model profile";

/// `None` if the crate computes no models with candle, or there is no crate.
pub(super) fn finding(project: &Project) -> Option<Finding> {
    let package = project.package.as_ref()?;
    package.leaves_models_slow.then(|| {
        let manifest = package.workspace.join("Cargo.toml");
        Finding::note(
            NAME,
            format!("{} does not optimise candle in dev builds", manifest.display()),
            "flash run without --release: models are a hundred times slower",
        )
        .fix(format!("add to it:\n{}", MODEL_PROFILE.trim()))
    })
}
