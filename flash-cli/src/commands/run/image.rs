//! `flash run --image`: runs the images of `flash build` as containers, instead of building binaries.
//!
//! Reads the record of the last build, imports the images into a container engine, and returns what to start.
//! Nothing is compiled here.
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
    time::Instant,
};

use flash_containers::{
    self, ContainerSpec, Engine, EngineError, Import, PullProblem, Resources, Stored, Wanted,
};
use flash_image::Layout;
use flash_platform::Images;
use flash_protocol::manifest::{ComputeEntry, Manifest};
use parking_lot::Mutex;
use sha2::{Digest as _, Sha256};

use super::workspace::Settings;
use crate::{
    builder::{BuildDirectory, BuiltImage, Platform, Record},
    exit::{Failure, FailureCode},
    output::Output,
    project::Config,
};

/// Enough characters to tell the builds of a crate apart.
const DIGITS_OF_DIGEST: usize = 12;
/// The instance for trying an image: the smallest one, so that the flags for limits are tested too.
const TRIAL: Resources = Resources { vcpus: Some(1), memory_gb: Some(1), processes: 4096 };

/// A crate's builds, and the engine that runs them.
pub(super) struct BuiltImages {
    directory: BuildDirectory,
    engine: Arc<Engine>,
    /// The prefix of this crate's image names in the engine's store.
    prefix: String,
    limits: bool,
    latest: Mutex<Option<(Record, Settings)>>,
}

impl BuiltImages {
    /// Finds a build and an engine.
    ///
    /// # Errors
    /// When one of them is missing, or they do not fit each other.
    pub(super) async fn find(
        package: &Path,
        wanted: &Wanted,
        limits: bool,
        output: &Output,
    ) -> Result<Self, Failure> {
        let directory = BuildDirectory::of(package);
        check(&Record::load(&directory)?)?;
        let engine = Arc::new(engine(wanted, limits, output).await?);
        Ok(Self { directory, engine, prefix: prefix(package), limits, latest: Mutex::default() })
    }

    /// Files that change when there is a new build.
    pub(super) fn files(&self, package: &Path) -> Vec<PathBuf> {
        vec![self.directory.record(), package.join("flash.toml"), package.join(".env")]
    }

    /// Imports what was built into the engine; `None` if nothing changed since the last call. Containers write
    /// their files to the directory.
    ///
    /// # Errors
    /// When the build is incomplete, or its images do not run here.
    pub(super) async fn version(
        &self,
        config: &Config,
        settings: &Settings,
        directory: &Path,
        output: &Output,
    ) -> Result<Option<(Manifest, Images)>, Failure> {
        let record = Record::load(&self.directory)?;
        let version = (record, settings.clone());
        let is_first = match &*self.latest.lock() {
            Some(latest) if *latest == version => return Ok(None),
            latest => latest.is_none(),
        };
        let (record, _) = &version;
        check(record)?;
        config.check_against(&record.app)?;
        self.engine.check_environment(&settings.environment).map_err(not_usable)?;
        let layout = Layout::create(&self.directory.images())
            .map_err(|error| Failure::of(FailureCode::Failed, &error))?;
        let stored = self.engine.stored().await.map_err(not_usable)?;
        let mut ids = BTreeMap::new();
        for image in &record.images {
            ids.insert(image.worker.clone(), self.import(&stored, &layout, image, output).await?);
        }
        if is_first && let Some(id) = first_for_cpu(&record.app).and_then(|worker| ids.get(worker)) {
            self.try_out(id).await?;
        }
        let manifest = record.app.clone();
        *self.latest.lock() = Some(version);
        let directory = directory.join("containers");
        Ok(Some((manifest, Images { engine: self.engine.clone(), ids, directory })))
    }

    /// The latest version was unusable: import the same build again next time.
    pub(super) fn forget_latest(&self) {
        *self.latest.lock() = None;
    }

    async fn import(
        &self,
        stored: &Stored,
        layout: &Layout,
        image: &BuiltImage,
        output: &Output,
    ) -> Result<String, Failure> {
        let engine = self.engine.program();
        let wanted =
            Import { worker: image.worker.clone(), digest: image.digest.clone(), name: self.name(image) };
        let mut began = None;
        let megabytes = image.unpacked.div_ceil(1_000_000);
        let id = flash_containers::import(&self.engine, stored, layout, &wanted, || {
            began = Some(Instant::now());
            output.status("Importing", &format!("{} into {engine} ({megabytes} MB)", image.worker));
        })
        .await
        .map_err(not_usable)?;
        if let Some(began) = began {
            let seconds = began.elapsed().as_secs_f64();
            output.status("Imported", &format!("{} in {seconds:.1} s: {}", image.worker, image.digest));
        }
        Ok(id)
    }

    /// An image's name in the engine's store. Different images never have the same name, so a new one does not
    /// affect a running one.
    fn name(&self, image: &BuiltImage) -> String {
        let digest = image.digest.trim_start_matches("sha256:");
        let short = digest.get(..DIGITS_OF_DIGEST).unwrap_or(digest);
        format!("{}:{}-{short}", self.prefix, image.worker)
    }

    /// The names of the latest version's images.
    fn latest_names(&self) -> Option<Vec<String>> {
        let latest = self.latest.lock();
        let (record, _) = latest.as_ref()?;
        Some(record.images.iter().map(|image| self.name(image)).collect())
    }

    /// Removes this crate's images of earlier builds. Call only when none of their releases is left.
    pub(super) async fn forget_former(&self) {
        let Some(keep) = self.latest_names() else { return };
        self.engine.forget_images(&format!("{}:", self.prefix), &keep).await;
    }

    /// Starts a container as a test, so that a problem shows now and not with the first job.
    async fn try_out(&self, image: &str) -> Result<(), Failure> {
        let spec = ContainerSpec {
            name: format!("flash-trial-{}", std::process::id()),
            image: image.to_owned(),
            entrypoint: Vec::new(),
            arguments: Vec::new(),
            environment: Vec::new(),
            resources: self.limits.then_some(TRIAL),
            shm_mib: None,
            gpus: Vec::new(),
        };
        self.engine.try_out(spec).await.map_err(not_usable)
    }
}

/// Whether an engine is available, checked before images are built.
///
/// # Errors
/// When there is none, or it is not usable.
pub(in crate::commands) async fn check_engine(config: &Config) -> Result<(), Failure> {
    flash_containers::find(&config.container).await.map(drop).map_err(not_usable)
}

/// Finds an engine to run containers with, and warns of what it cannot limit.
///
/// # Errors
/// When there is none, or it is not usable.
pub(super) async fn engine(wanted: &Wanted, limits: bool, output: &Output) -> Result<Engine, Failure> {
    let engine = flash_containers::find(wanted).await.map_err(not_usable)?;
    let missing = engine.missing_limits();
    if limits && !missing.is_empty() {
        let labels: Vec<&str> = missing.iter().map(|limit| limit.label()).collect();
        output.warning(&format!(
            "{} limits of instances are not applied: {} cannot set them here",
            labels.join(", "),
            engine.program()
        ));
    }
    Ok(engine)
}

/// A name for this crate's images that no other crate on this machine has.
fn prefix(package: &Path) -> String {
    let hash = Sha256::digest(package.as_os_str().as_encoded_bytes());
    let short: String = hash.iter().take(6).map(|byte| format!("{byte:02x}")).collect();
    format!("localhost/flash-{short}")
}

/// A GPU binary may not even start without a driver.
fn first_for_cpu(manifest: &Manifest) -> Option<&str> {
    let is_cpu = |compute: &ComputeEntry| matches!(compute, ComputeEntry::Cpu { .. });
    manifest.workers.iter().find(|worker| is_cpu(&worker.compute)).map(|worker| worker.name.as_str())
}

/// Whether every worker type has an image for this machine.
fn check(record: &Record) -> Result<(), Failure> {
    let without = record.app.workers.iter().filter(|worker| record.image(&worker.name).is_none());
    let without: Vec<String> = without.map(|worker| format!("`{}`", worker.name)).collect();
    if !without.is_empty() {
        let message = format!("the last build made no image for {}", without.join(", "));
        return Err(Failure::unusable(message).hint("build all worker types: flash build"));
    }
    let here = Platform::of_this_machine().map(|platform| platform.to_string());
    match record.images.iter().find(|image| Some(&image.platform) != here.as_ref()) {
        Some(BuiltImage { worker, platform, .. }) => {
            let message =
                format!("the image of `{worker}` is for {platform}, which does not match this machine");
            Err(Failure::unusable(message).hint("build for this machine: flash build"))
        }
        None => Ok(()),
    }
}

/// What to do about an engine that cannot do its work.
pub(super) fn not_usable(error: EngineError) -> Failure {
    let code = match error {
        EngineError::None
        | EngineError::Missing(_)
        | EngineError::Old(_)
        | EngineError::Elsewhere(_)
        | EngineError::ManyLines { .. }
        | EngineError::Platform { .. }
        | EngineError::Pull { problem: PullProblem::NotFound | PullProblem::Denied, .. } => {
            FailureCode::Unusable
        }
        _ => FailureCode::Failed,
    };
    let failure = Failure::of(code, &error);
    match &error {
        EngineError::None | EngineError::Missing(_) => failure.hint(
            "install the package `podman`, or `docker` (`docker.io` on Debian); without containers: flash run",
        ),
        EngineError::Changed { .. } | EngineError::Layout(_) => failure.hint("build again: flash build"),
        EngineError::Platform { wanted, .. } => {
            failure.hint(format!("name an image in flash.toml that was built for {wanted}"))
        }
        EngineError::Pull { image, problem, .. } => failure.hint(match problem {
            PullProblem::NotFound => "correct the name under [workers.NAME] in flash.toml".to_owned(),
            PullProblem::Denied => format!(
                "correct its name in flash.toml, or log in where it is: podman login {0} or docker login {0}",
                image.split('/').next().unwrap_or(image)
            ),
            PullProblem::Other => "check that its registry can be reached from here, and run it again".to_owned(),
        }),
        EngineError::Failed { .. } => failure.hint(
            "adjust `container_global_args` and `container_args` under [run] in flash.toml",
        ),
        _ => failure,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_images_are_of_their_crate() {
        let one = prefix(Path::new("/home/ada/app"));
        assert!(one.starts_with("localhost/flash-") && one.len() == "localhost/flash-".len() + 12, "{one}");
        assert_ne!(one, prefix(Path::new("/home/bob/app")));
    }
}
