//! The crate in a directory, by `cargo metadata`.
use std::{
    collections::{BTreeSet, VecDeque},
    path::{Path, PathBuf},
};

use cargo_metadata::{Metadata, MetadataCommand, Package as CargoPackage, TargetKind};

/// Profiles that cargo has by itself.
const CARGO_PROFILES: [&str; 4] = ["dev", "release", "test", "bench"];

/// The crate that is run.
#[derive(Debug, Clone)]
pub(crate) struct Package {
    pub name: String,
    /// Where its `Cargo.toml` is.
    pub directory: PathBuf,
    /// The binary with the app in it.
    pub binary: String,
    /// Directories of the crate and of the local crates that it is built from.
    pub sources: Vec<PathBuf>,
    /// The root of its workspace: its own directory when it is alone.
    pub workspace: PathBuf,
    /// Where cargo puts what it builds.
    pub target_directory: PathBuf,
    /// Where cargo puts what only it needs; often the same.
    pub build_directory: PathBuf,
    /// Cargo profiles that there are.
    pub profiles: Vec<String>,
    /// Cargo features that it has.
    pub features: Vec<String>,
    /// Whether it, or a local crate that it is built from, has a build script.
    pub has_build_script: bool,
}

/// Why there is nothing to run.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PackageError {
    #[error("{} does not exist", .0.display())]
    NoDirectory(PathBuf),
    #[error("{} is not inside a crate: no Cargo.toml there or above", .0.display())]
    NoManifest(PathBuf),
    #[error("cargo cannot read {}: {reason}", path.display())]
    Unreadable { path: PathBuf, reason: String },
    #[error("{} is a workspace without a package of its own", .0.display())]
    Workspace(PathBuf),
    #[error("package `{0}` has no binary")]
    NoBinary(String),
    #[error("package `{package}` has several binaries (`{}`) and names none as `default-run`", binaries.join("`, `"))]
    SeveralBinaries { package: String, binaries: Vec<String> },
    #[error("`cargo` cannot be started")]
    NoCargo(#[source] std::io::Error),
}

impl Package {
    /// The crate in or above `directory`.
    ///
    /// # Errors
    /// Why there is none that can be run.
    pub(crate) fn find(directory: &Path) -> Result<Self, PackageError> {
        let directory =
            directory.canonicalize().map_err(|_| PackageError::NoDirectory(directory.to_owned()))?;
        let manifest = directory
            .ancestors()
            .map(|above| above.join("Cargo.toml"))
            .find(|manifest| manifest.is_file())
            .ok_or_else(|| PackageError::NoManifest(directory.clone()))?;
        let metadata = MetadataCommand::new()
            .manifest_path(&manifest)
            // By where it is started cargo chooses toolchain and configuration.
            .current_dir(manifest.parent().unwrap_or(&directory))
            .exec()
            .map_err(|error| match error {
                cargo_metadata::Error::Io(error) => PackageError::NoCargo(error),
                cargo_metadata::Error::CargoMetadata { stderr } => {
                    let reason = stderr.trim().trim_start_matches("error: ").replace('\n', " ");
                    PackageError::Unreadable { path: manifest.clone(), reason }
                }
                other => PackageError::Unreadable { path: manifest.clone(), reason: other.to_string() },
            })?;
        let package = metadata
            .packages
            .iter()
            .find(|package| package.manifest_path.as_std_path() == manifest)
            .ok_or_else(|| PackageError::Workspace(manifest.clone()))?;
        let local = local_packages(&metadata, package);
        let is_script = |target: &cargo_metadata::Target| target.kind.contains(&TargetKind::CustomBuild);
        Ok(Self {
            name: package.name.to_string(),
            directory: manifest.parent().unwrap_or(&directory).to_owned(),
            binary: binary_of(package)?,
            has_build_script: local.iter().any(|own| own.targets.iter().any(is_script)),
            sources: local.iter().map(|own| directory_of(own)).collect(),
            workspace: metadata.workspace_root.as_std_path().to_owned(),
            target_directory: metadata.target_directory.as_std_path().to_owned(),
            build_directory: metadata
                .build_directory
                .as_ref()
                .unwrap_or(&metadata.target_directory)
                .as_std_path()
                .to_owned(),
            profiles: profiles(metadata.workspace_root.as_std_path()),
            features: package.features.keys().cloned().collect(),
        })
    }

    /// Whether nothing was ever compiled with this profile (for this target, where one is named): then all
    /// dependencies will be.
    pub(crate) fn is_first_build(&self, target: Option<&str>, profile: &str) -> bool {
        let directory = match profile {
            "dev" | "test" => "debug",
            "bench" => "release",
            other => other,
        };
        let below = target.map_or(self.build_directory.clone(), |triple| self.build_directory.join(triple));
        !below.join(directory).join("deps").is_dir()
    }
}

fn binary_of(package: &CargoPackage) -> Result<String, PackageError> {
    let name = package.name.to_string();
    if let Some(binary) = &package.default_run {
        return Ok(binary.clone());
    }
    let mut binaries: Vec<String> = package
        .targets
        .iter()
        .filter(|target| target.kind.contains(&TargetKind::Bin))
        .map(|target| target.name.clone())
        .collect();
    match binaries.len() {
        0 => Err(PackageError::NoBinary(name)),
        1 => Ok(binaries.remove(0)),
        _ => Err(PackageError::SeveralBinaries { package: name, binaries }),
    }
}

/// Cargo's own profiles, and those of the workspace.
fn profiles(workspace: &Path) -> Vec<String> {
    let manifest = std::fs::read_to_string(workspace.join("Cargo.toml")).unwrap_or_default();
    // Cargo has read it, so it can be read.
    let manifest: toml::Table = toml::from_str(&manifest).unwrap_or_default();
    let own = manifest.get("profile").and_then(toml::Value::as_table);
    let own = own.into_iter().flat_map(|profiles| profiles.keys().cloned());
    CARGO_PROFILES.iter().map(|&name| name.to_owned()).chain(own).collect()
}

/// All crates by path that this one is built from, itself first.
fn local_packages<'a>(metadata: &'a Metadata, package: &'a CargoPackage) -> Vec<&'a CargoPackage> {
    let Some(resolve) = &metadata.resolve else { return vec![package] };
    let (mut seen, mut queue) = (BTreeSet::from([&package.id]), VecDeque::from([&package.id]));
    let mut found = Vec::new();
    while let Some(id) = queue.pop_front() {
        // Crates of a registry do not change under us; neither does what they depend on.
        let Some(local) = metadata.packages.iter().find(|known| known.id == *id && known.source.is_none())
        else {
            continue;
        };
        found.push(local);
        let node = resolve.nodes.iter().find(|node| node.id == *id);
        for dependency in node.into_iter().flat_map(|node| &node.dependencies) {
            if seen.insert(dependency) {
                queue.push_back(dependency);
            }
        }
    }
    found
}

fn directory_of(package: &CargoPackage) -> PathBuf {
    package.manifest_path.parent().map(|parent| parent.as_std_path().to_owned()).unwrap_or_default()
}
