//! The crate in a directory, from `cargo metadata`.
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use cargo_metadata::{Metadata, MetadataCommand, Package as CargoPackage, TargetKind};

use super::model_profile;

/// Cargo's built-in profiles.
const CARGO_PROFILES: [&str; 4] = ["dev", "release", "test", "bench"];

/// Files in a crate's directory, or in one above it, that affect how cargo builds it.
const BUILD_SETTINGS: [&str; 5] =
    ["Cargo.toml", "rust-toolchain.toml", "rust-toolchain", ".cargo/config.toml", ".cargo/config"];
/// File times are coarser than the clock.
const COARSE: Duration = Duration::from_millis(50);

/// The crate that is run.
#[derive(Debug, Clone)]
pub(crate) struct Package {
    pub name: String,
    /// Where its `Cargo.toml` is.
    pub directory: PathBuf,
    /// The binary with the app in it.
    pub binary: String,
    /// Directories of the crate and of the local crates it is built from.
    pub sources: Vec<PathBuf>,
    /// The root of its workspace: its own directory if it is not in one.
    pub workspace: PathBuf,
    /// Where cargo puts its build output.
    pub target_directory: PathBuf,
    /// Where cargo puts intermediate files; often the same.
    pub build_directory: PathBuf,
    /// The available cargo profiles.
    pub profiles: Vec<String>,
    /// The crate's cargo features.
    pub features: Vec<String>,
    /// Whether it, or a local crate it is built from, has a build script.
    pub has_build_script: bool,
    /// Whether it computes models with candle, and its dev profile leaves candle without optimisation.
    pub leaves_models_slow: bool,
    /// The files that cargo read to find this, and their state then.
    pub(super) inputs: Inputs,
}

/// Files and their state.
pub(super) type Inputs = BTreeMap<PathBuf, FileState>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FileState {
    Missing,
    /// It exists; its content does not matter.
    There,
    Written {
        at: SystemTime,
        length: u64,
    },
    /// Written while cargo read it: it is not known which came first.
    Unknown,
}

/// Why there is nothing to run.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PackageError {
    #[error("the directory `{}` does not exist", .0.display())]
    NoDirectory(PathBuf),
    #[error("{} is not inside a crate: no Cargo.toml there or above", .0.display())]
    NoManifest(PathBuf),
    #[error("cargo cannot read {}: {reason}", path.display())]
    Unreadable { path: PathBuf, reason: String },
    #[error("{} is a workspace without a root package", .0.display())]
    Workspace(PathBuf),
    #[error("{} no longer exists", .0.display())]
    Gone(PathBuf),
    #[error("package `{0}` has no binary")]
    NoBinary(String),
    #[error("package `{package}` has several binaries (`{}`) and no `default-run`", binaries.join("`, `"))]
    SeveralBinaries { package: String, binaries: Vec<String> },
    #[error("cannot start `cargo`")]
    NoCargo(#[source] std::io::Error),
}

impl Package {
    /// The crate in or above `directory`.
    ///
    /// # Errors
    /// Why there is no crate that can be run.
    pub(crate) fn find(directory: &Path) -> Result<Self, PackageError> {
        let directory =
            directory.canonicalize().map_err(|_| PackageError::NoDirectory(directory.to_owned()))?;
        let manifest = directory
            .ancestors()
            .map(|above| above.join("Cargo.toml"))
            .find(|manifest| manifest.is_file())
            .ok_or_else(|| PackageError::NoManifest(directory.clone()))?;
        Self::read(&manifest)
    }

    /// The same crate as cargo sees it now; `None` if no file was written that could have changed it.
    ///
    /// # Errors
    /// Why the crate can no longer be run.
    pub(crate) fn renewed(&self) -> Result<Option<Self>, PackageError> {
        if self.inputs.iter().all(|(path, state)| *state == state_of(path)) {
            return Ok(None);
        }
        let manifest = self.directory.join("Cargo.toml");
        // A `Cargo.toml` above it would be a different crate.
        if !manifest.is_file() {
            return Err(PackageError::Gone(manifest));
        }
        Self::read(&manifest).map(Some)
    }

    /// Files other than those in [`Package::sources`] that affect the build; some may not exist.
    pub(crate) fn build_inputs(&self) -> impl Iterator<Item = &PathBuf> {
        self.inputs.keys()
    }

    fn read(manifest: &Path) -> Result<Self, PackageError> {
        let directory = manifest.parent().unwrap_or(Path::new("/"));
        let started = SystemTime::now();
        let metadata = MetadataCommand::new()
            .manifest_path(manifest)
            // Cargo selects its toolchain and configuration by its working directory.
            .current_dir(directory)
            .exec()
            .map_err(|error| match error {
                cargo_metadata::Error::Io(error) => PackageError::NoCargo(error),
                cargo_metadata::Error::CargoMetadata { stderr } => {
                    let reason = stderr.trim().trim_start_matches("error: ").replace('\n', " ");
                    PackageError::Unreadable { path: manifest.to_owned(), reason }
                }
                other => PackageError::Unreadable { path: manifest.to_owned(), reason: other.to_string() },
            })?;
        let package = metadata
            .packages
            .iter()
            .find(|package| package.manifest_path.as_std_path() == manifest)
            .ok_or_else(|| PackageError::Workspace(manifest.to_owned()))?;
        let local = local_packages(&metadata, package);
        let is_script = |target: &cargo_metadata::Target| target.kind.contains(&TargetKind::CustomBuild);
        let workspace_manifest = manifest_of(metadata.workspace_root.as_std_path());
        let sources: Vec<PathBuf> = local.iter().map(|own| directory_of(own)).collect();
        Ok(Self {
            name: package.name.to_string(),
            directory: directory.to_owned(),
            binary: binary_of(package)?,
            has_build_script: local.iter().any(|own| own.targets.iter().any(is_script)),
            inputs: inputs_of(&sources, metadata.workspace_root.as_std_path(), started),
            sources,
            workspace: metadata.workspace_root.as_std_path().to_owned(),
            target_directory: metadata.target_directory.as_std_path().to_owned(),
            build_directory: metadata
                .build_directory
                .as_ref()
                .unwrap_or(&metadata.target_directory)
                .as_std_path()
                .to_owned(),
            profiles: profiles(&workspace_manifest),
            leaves_models_slow: model_profile::leaves_models_slow(
                &metadata,
                &package.id,
                &workspace_manifest,
            ),
            features: package.features.keys().cloned().collect(),
        })
    }

    /// Whether nothing was ever compiled with this profile (and target, if given): all dependencies will be
    /// compiled then.
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

/// The manifest at the root of the workspace.
fn manifest_of(workspace: &Path) -> toml::Table {
    let manifest = std::fs::read_to_string(workspace.join("Cargo.toml")).unwrap_or_default();
    // Cargo has already parsed it successfully.
    toml::from_str(&manifest).unwrap_or_default()
}

/// Cargo's own profiles, and those of the workspace.
fn profiles(manifest: &toml::Table) -> Vec<String> {
    let own = manifest.get("profile").and_then(toml::Value::as_table);
    let own = own.into_iter().flat_map(|profiles| profiles.keys().cloned());
    CARGO_PROFILES.iter().map(|&name| name.to_owned()).chain(own).collect()
}

/// The files that decide which crates are built, with which settings and by which toolchain.
fn inputs_of(sources: &[PathBuf], workspace: &Path, started: SystemTime) -> Inputs {
    let mut paths = BTreeSet::from([workspace.join("Cargo.lock")]);
    for source in sources {
        // Cargo finds a crate's binaries and libraries by these.
        paths.extend(["src/main.rs", "src/lib.rs", "src/bin"].map(|file| source.join(file)));
        for above in source.ancestors() {
            // Cargo looks for them in all directories above; files far above rarely appear while an app runs.
            let is_near = above == source || above == workspace;
            let here = BUILD_SETTINGS.map(|file| above.join(file));
            paths.extend(here.into_iter().filter(|path| is_near || path.is_file()));
        }
    }
    let state = |path: &Path| match state_of(path) {
        FileState::Written { at, .. } if at + COARSE >= started => FileState::Unknown,
        state => state,
    };
    paths.into_iter().map(|path| (path.clone(), state(&path))).collect()
}

fn state_of(path: &Path) -> FileState {
    let Ok(metadata) = path.metadata() else { return FileState::Missing };
    match metadata.modified() {
        Ok(at) if path.extension().is_none_or(|extension| extension != "rs") => {
            FileState::Written { at, length: metadata.len() }
        }
        _ => FileState::There,
    }
}

/// All path dependencies that this crate is built from, starting with itself.
fn local_packages<'a>(metadata: &'a Metadata, package: &'a CargoPackage) -> Vec<&'a CargoPackage> {
    let Some(resolve) = &metadata.resolve else { return vec![package] };
    let (mut seen, mut queue) = (BTreeSet::from([&package.id]), VecDeque::from([&package.id]));
    let mut found = Vec::new();
    while let Some(id) = queue.pop_front() {
        // Registry crates do not change, and neither do their dependencies.
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

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    fn write(path: &Path, text: &str) {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    fn manifest(name: &str, more: &str) -> String {
        format!("[package]\nname = \"{name}\"\nversion = \"0.1.0\"\nedition = \"2024\"\n{more}")
    }

    /// Renews until cargo's view is up to date: files written while cargo read them are read again.
    fn settled(mut package: Package) -> Package {
        let until = Instant::now() + Duration::from_secs(60);
        while let Some(renewed) = package.renewed().unwrap() {
            assert!(Instant::now() < until, "{package:?}");
            package = renewed;
        }
        package
    }

    #[test]
    fn what_cargo_makes_of_a_package_is_asked_again_when_it_may_have_changed() {
        let held = tempfile::TempDir::new().unwrap();
        let place = held.path().canonicalize().unwrap();
        let (app, words) = (place.join("app"), place.join("words"));
        write(&app.join("Cargo.toml"), &manifest("first", "[workspace]\n"));
        write(&app.join("src/main.rs"), "fn main() {}");
        let package = settled(Package::find(&app).unwrap());
        assert_eq!((package.name.as_str(), package.binary.as_str()), ("first", "first"));
        // A changed source file does not change the package.
        write(&app.join("src/main.rs"), "fn main() { }");
        assert!(package.renewed().unwrap().is_none());

        write(&words.join("Cargo.toml"), &manifest("words", ""));
        write(&words.join("src/lib.rs"), "");
        let depends = "[workspace]\n[dependencies]\nwords = { path = \"../words\" }\n";
        write(&app.join("Cargo.toml"), &manifest("second", depends));
        let package = settled(package);
        assert_eq!((package.name.as_str(), package.binary.as_str()), ("second", "second"));
        assert_eq!(package.sources, [app.clone(), words.clone()]);

        std::fs::create_dir(app.join("src/bin")).unwrap();
        std::fs::rename(app.join("src/main.rs"), app.join("src/bin/other.rs")).unwrap();
        assert_eq!(settled(package.clone()).binary, "other");

        // A crate above it would be a different one.
        write(&place.join("Cargo.toml"), &manifest("above", ""));
        std::fs::remove_file(app.join("Cargo.toml")).unwrap();
        let gone = package.renewed().unwrap_err();
        assert!(matches!(&gone, PackageError::Gone(path) if *path == app.join("Cargo.toml")), "{gone}");
    }
}
