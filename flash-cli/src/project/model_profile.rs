//! Whether a dev build compiles the arithmetic of models with optimisation. Without it, a model is a hundred times slower.
use std::collections::BTreeSet;

use cargo_metadata::{Metadata, PackageId};

/// The library that models are computed with.
const ARITHMETIC: &str = "candle-core";
/// From this level on, loops over numbers are vectorised.
const FAST_ENOUGH: i64 = 2;

/// What makes it fast, for the `Cargo.toml` at the root of the workspace.
pub(crate) const MODEL_PROFILE: &str = include_str!("../../templates/common/model_profile.toml");

/// Whether this package computes models with candle, and its dev profile leaves candle without optimisation.
/// `manifest` is that at the root of the workspace: cargo reads profiles nowhere else.
pub(super) fn leaves_models_slow(metadata: &Metadata, package: &PackageId, manifest: &toml::Table) -> bool {
    depends_on(metadata, package, ARITHMETIC) && !is_optimised(manifest)
}

/// Whether the package is built from one of this name, through however many others.
fn depends_on(metadata: &Metadata, package: &PackageId, name: &str) -> bool {
    let Some(resolve) = &metadata.resolve else { return false };
    let Some(wanted) = metadata.packages.iter().find(|known| known.name.as_str() == name) else {
        return false;
    };
    let (mut seen, mut open) = (BTreeSet::from([package]), vec![package]);
    while let Some(id) = open.pop() {
        if *id == wanted.id {
            return true;
        }
        let node = resolve.nodes.iter().find(|node| node.id == *id);
        open.extend(node.into_iter().flat_map(|node| &node.dependencies).filter(|below| seen.insert(below)));
    }
    false
}

/// What the dev profile says of the arithmetic, else of all dependencies, else of everything.
fn is_optimised(manifest: &toml::Table) -> bool {
    let level = |path: &[&str]| {
        let mut keys = path.iter().chain(&["opt-level"]);
        let first = manifest.get(*keys.next()?)?;
        keys.try_fold(first, |value, key| value.get(*key)).cloned()
    };
    let level = level(&["profile", "dev", "package", ARITHMETIC])
        .or_else(|| level(&["profile", "dev", "package", "*"]))
        .or_else(|| level(&["profile", "dev"]));
    match level {
        Some(toml::Value::Integer(level)) => level >= FAST_ENOUGH,
        // `s` and `z`: optimised for size.
        Some(_) => true,
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn optimised(manifest: &str) -> bool {
        is_optimised(&toml::from_str(manifest).unwrap())
    }

    #[test]
    fn the_nearest_setting_decides() {
        assert!(!optimised(""));
        assert!(!optimised("[profile.release]\nopt-level = 3"));
        assert!(optimised(MODEL_PROFILE));
        assert!(optimised("[profile.dev]\nopt-level = 2"));
        assert!(!optimised("[profile.dev]\nopt-level = 1"));
        assert!(optimised("[profile.dev.package.\"*\"]\nopt-level = 3"));
        assert!(optimised("[profile.dev.package.\"*\"]\nopt-level = \"s\""));
        let both = "[profile.dev]\nopt-level = 3\n[profile.dev.package.candle-core]\nopt-level = 0";
        assert!(!optimised(both), "of candle itself, more counts than of everything");
    }
}
