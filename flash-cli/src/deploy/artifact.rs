//! Turns binaries and files into a release: everything is hashed, nothing is copied.
use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs::File,
    io::{self, Read as _},
    path::{Component, Path, PathBuf},
};

use flash_image::Access;
use flash_protocol::{CommandWorker, Program, manifest::Manifest};
use flash_target::{
    ArtifactSpec, BuildOrigin, CommandSpec, FileSpec, ReleaseSpec, RuntimeSettings, Shipment,
};
use sha2::{Digest as _, Sha256};

use crate::{
    builder::{Binaries, Commit, ExternalImage, Record},
    exit::{Failure, FailureCode},
    project::{Config, ConfigError, EnvironmentSettings, Package},
};

/// The number of a commit's characters that identify it.
const SHORT_COMMIT: usize = 12;
/// The number of bytes read at once.
const CHUNK: usize = 1 << 16;

/// Why no release can be made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ArtifactError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error("cannot read {}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("the program of worker type `{worker}`, `{}`, is not among the deployed files", program.display())]
    ProgramLeftOut { worker: String, program: PathBuf },
    #[error("the program of worker type `{worker}`, `{}`, is not executable", program.display())]
    NotExecutable { worker: String, program: PathBuf },
    #[error("hashing ended early: {0}")]
    Thread(String),
}

impl From<ArtifactError> for Failure {
    fn from(error: ArtifactError) -> Self {
        match &error {
            ArtifactError::Config(_) => Self::of(FailureCode::Unusable, &error),
            ArtifactError::ProgramLeftOut { program, .. } => {
                Self::of(FailureCode::Unusable, &error).hint(format!(
                    "add it to `include` under [build] in flash.toml: include = [\"{}\"]",
                    included_as(program).unwrap_or_else(|| program.display().to_string())
                ))
            }
            ArtifactError::NotExecutable { program, .. } => {
                Self::of(FailureCode::Unusable, &error).hint(format!("chmod +x {}", program.display()))
            }
            ArtifactError::Read { .. } | ArtifactError::Thread(_) => Self::of(FailureCode::Failed, &error),
        }
    }
}

/// The release that a build makes in an environment. Its files exist as long as `binaries` lives. `secrets` holds
/// how often each secret was set.
///
/// # Errors
/// When the settings do not fit the app, and when something cannot be read.
pub(crate) async fn release_of(
    binaries: &Binaries<'_>,
    package: &Package,
    config: &Config,
    environment: &EnvironmentSettings,
    secrets: BTreeMap<String, u64>,
    profile: &str,
) -> Result<Shipment, ArtifactError> {
    let manifest = config.manifest_in(environment, &binaries.manifest)?;
    let commit = binaries.commit.as_ref();
    let (programs, files) = (binaries.programs.clone(), binaries.files.clone());
    let files = files.into_iter().map(|file| (file.path, (file.source, file.access == Access::Executable)));
    let files: BTreeMap<String, (PathBuf, bool)> = files.collect();
    let hashed = tokio::task::spawn_blocking(move || hash(&programs, &files))
        .await
        .map_err(|error| ArtifactError::Thread(error.to_string()))??;
    let commands = commands(config, &manifest, &hashed.files, &binaries.external, &package.directory)?;
    let artifact = ArtifactSpec::Binaries {
        digest: digest(&hashed.binaries, &hashed.files),
        binaries: hashed.binaries,
        files: hashed.files,
    };
    let origin = BuildOrigin { commit: commit.map(short), profile: profile.to_owned() };
    let spec = spec(config, environment, manifest, artifact, origin);
    Ok(Shipment { spec: ReleaseSpec { commands, secrets, ..spec }, sources: hashed.sources, notes: None })
}

/// The release that images make in an environment: `images` maps worker types to names in the registry, with
/// digests. A program without an image is not in such a release.
///
/// # Errors
/// When the settings do not fit the app.
pub(crate) fn release_of_images(
    record: &Record,
    images: BTreeMap<String, String>,
    config: &Config,
    environment: &EnvironmentSettings,
    profile: &str,
) -> Result<Shipment, ArtifactError> {
    let mut manifest = config.manifest_in(environment, &record.app)?;
    let commands = image_commands(config, &manifest, &record.external);
    let is_command = |name: &str| commands.iter().any(|own| own.worker_type.name == name);
    manifest.workers.retain(|worker| images.contains_key(&worker.name) || is_command(&worker.name));
    let artifact = ArtifactSpec::Images { digest: digest_of_images(&images), images };
    let origin = BuildOrigin { commit: record.git.as_ref().map(short), profile: profile.to_owned() };
    let spec = ReleaseSpec { commands, ..spec(config, environment, manifest, artifact, origin) };
    Ok(Shipment { spec, sources: BTreeMap::new(), notes: None })
}

/// The release that a build of this manifest would make, as far as it is known without building: enough to ask a
/// target whether it would accept it.
///
/// # Errors
/// When the settings do not fit the app.
pub(crate) fn unbuilt_release(
    manifest: &Manifest,
    config: &Config,
    environment: &EnvironmentSettings,
) -> Result<ReleaseSpec, ArtifactError> {
    let mut in_environment = config.manifest_in(environment, manifest)?;
    // What the images' names stand for makes no difference here.
    let commands = image_commands(config, &in_environment, &[]);
    let is_command = |name: &str| commands.iter().any(|own| own.worker_type.name == name);
    // Other programs have no image.
    in_environment
        .workers
        .retain(|worker| manifest.worker(&worker.name).is_some() || is_command(&worker.name));
    let artifact = ArtifactSpec::Images { digest: String::new(), images: BTreeMap::new() };
    let spec = spec(config, environment, in_environment, artifact, BuildOrigin::default());
    Ok(ReleaseSpec { commands, ..spec })
}

/// Without commands and secrets.
fn spec(
    config: &Config,
    environment: &EnvironmentSettings,
    manifest: Manifest,
    artifact: ArtifactSpec,
    origin: BuildOrigin,
) -> ReleaseSpec {
    ReleaseSpec {
        manifest,
        commands: Vec::new(),
        artifact,
        origin,
        variables: environment.variables.clone(),
        secrets: BTreeMap::new(),
        prices: config.own_prices.clone(),
        runtime: runtime(config, environment),
        cloud: environment.cloud.clone(),
        models: BTreeMap::new(),
    }
}

/// Hash of all images by worker type: equal images give equal digests.
pub(crate) fn digest_of_images(images: &BTreeMap<String, String>) -> String {
    let mut hash = Sha256::new();
    hash.update(b"flash images 1\n");
    for (worker, image) in images {
        hash.update(format!("image {} {worker} {image}\n", worker.len()));
    }
    hex(&hash.finalize())
}

fn short(commit: &Commit) -> String {
    let text = commit.commit.get(..SHORT_COMMIT).unwrap_or(&commit.commit);
    format!("{text}{}", if commit.dirty { "+" } else { "" })
}

fn runtime(config: &Config, environment: &EnvironmentSettings) -> RuntimeSettings {
    let usual = RuntimeSettings::default();
    RuntimeSettings {
        drain_seconds: config.drain_seconds.unwrap_or(usual.drain_seconds),
        ping_timeout_seconds: config.ping_timeout.unwrap_or(usual.ping_timeout_seconds),
        stop_grace_ms: config.stop_grace_ms.unwrap_or(usual.stop_grace_ms),
        limits: config.limits.unwrap_or(usual.limits),
        keep_releases: config.keep_releases.unwrap_or(usual.keep_releases),
        webhook_networks: environment.webhook_networks.clone(),
        hides_values: config.hides_values,
    }
}

/// The hashes.
struct HashedFiles {
    binaries: BTreeMap<String, String>,
    files: BTreeMap<String, FileSpec>,
    sources: BTreeMap<String, PathBuf>,
}

/// Hashes each file once. Blocks on reads.
fn hash(
    programs: &BTreeMap<String, PathBuf>,
    files: &BTreeMap<String, (PathBuf, bool)>,
) -> Result<HashedFiles, ArtifactError> {
    let mut known: BTreeMap<PathBuf, String> = BTreeMap::new();
    let mut sources = BTreeMap::new();
    let mut sha256 = |path: &Path| {
        let hash = match known.get(path) {
            Some(hash) => hash.clone(),
            None => {
                sha256_of(path).map_err(|source| ArtifactError::Read { path: path.to_owned(), source })?
            }
        };
        known.insert(path.to_owned(), hash.clone());
        sources.entry(hash.clone()).or_insert_with(|| path.to_owned());
        Ok::<_, ArtifactError>(hash)
    };
    let mut binaries = BTreeMap::new();
    for (worker, path) in programs {
        binaries.insert(worker.clone(), sha256(path)?);
    }
    let mut hashed = BTreeMap::new();
    for (name, (path, executable)) in files {
        hashed.insert(name.clone(), FileSpec { sha256: sha256(path)?, executable: *executable });
    }
    Ok(HashedFiles { binaries, files: hashed, sources })
}

fn sha256_of(path: &Path) -> io::Result<String> {
    let (mut file, mut hash) = (File::open(path)?, Sha256::new());
    let mut chunk = vec![0; CHUNK];
    loop {
        match file.read(&mut chunk)? {
            0 => return Ok(hex(&hash.finalize())),
            read => hash.update(&chunk[..read]),
        }
    }
}

/// Lower-case hex.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The same for the same content, wherever it was built. Lengths precede names, so that no two lists hash alike.
fn digest(binaries: &BTreeMap<String, String>, files: &BTreeMap<String, FileSpec>) -> String {
    let mut hash = Sha256::new();
    hash.update(b"flash artifact 1\n");
    for (worker, sha256) in binaries {
        hash.update(format!("binary {} {worker} {sha256}\n", worker.len()));
    }
    for (path, file) in files {
        hash.update(format!("file {} {path} {} {}\n", path.len(), file.sha256, file.executable));
    }
    hex(&hash.finalize())
}

/// The commands, each with its worker type as configured in the environment.
fn commands(
    config: &Config,
    manifest: &Manifest,
    files: &BTreeMap<String, FileSpec>,
    external: &[ExternalImage],
    directory: &Path,
) -> Result<Vec<CommandSpec>, ArtifactError> {
    let spec = |command: CommandWorker| {
        let CommandWorker { worker_type, program, environment, health_path } = command;
        let worker_type = manifest.worker(&worker_type.name).cloned().unwrap_or(worker_type);
        let worker = worker_type.name.clone();
        let program = match program {
            Program::Command { program, arguments } => Program::Command {
                program: deployed(&worker, relative(program, directory), files)?,
                arguments,
            },
            image @ Program::Image { .. } => pinned(image, &worker, external),
        };
        let environment = environment.into_iter().collect();
        Ok(CommandSpec { worker_type, program, environment, health_path })
    };
    config.commands().into_iter().map(spec).collect()
}

/// The commands that are images.
fn image_commands(config: &Config, manifest: &Manifest, external: &[ExternalImage]) -> Vec<CommandSpec> {
    let spec = |command: CommandWorker| {
        command.program.image()?;
        let CommandWorker { worker_type, program, environment, health_path } = command;
        let worker_type = manifest.worker(&worker_type.name).cloned().unwrap_or(worker_type);
        let program = pinned(program, &worker_type.name, external);
        Some(CommandSpec {
            worker_type,
            program,
            environment: environment.into_iter().collect(),
            health_path,
        })
    };
    config.commands().into_iter().filter_map(spec).collect()
}

/// The image by the digest that the build found for its name.
fn pinned(program: Program, worker: &str, external: &[ExternalImage]) -> Program {
    match program {
        Program::Image { image, entrypoint, arguments } => {
            let found = external.iter().find(|own| own.worker == worker && own.name == image);
            let image = found.map_or(image, |own| own.image.clone());
            Program::Image { image, entrypoint, arguments }
        }
        command @ Program::Command { .. } => command,
    }
}

/// A program that is deployed with the release, if it is one of its files.
fn deployed(
    worker: &str,
    program: PathBuf,
    files: &BTreeMap<String, FileSpec>,
) -> Result<PathBuf, ArtifactError> {
    let Some(path) = included_as(&program) else { return Ok(program) };
    let worker = || worker.to_owned();
    match files.get(&path) {
        None => Err(ArtifactError::ProgramLeftOut { worker: worker(), program }),
        Some(file) if !file.executable => Err(ArtifactError::NotExecutable { worker: worker(), program }),
        Some(_) => Ok(program),
    }
}

/// An absolute path into the crate is one of its files.
fn relative(program: PathBuf, directory: &Path) -> PathBuf {
    match program.strip_prefix(directory) {
        Ok(below) => Path::new(".").join(below),
        Err(_) => program,
    }
}

/// The path of a program among the files; `None` for one on the machine: a bare name is looked up in `PATH`.
fn included_as(program: &Path) -> Option<String> {
    if program.is_absolute() || !program.to_string_lossy().contains('/') {
        return None;
    }
    let parts = program.components().filter(|part| !matches!(part, Component::CurDir));
    let parts: Vec<_> = parts.map(|part| part.as_os_str().to_string_lossy()).collect();
    Some(parts.join("/"))
}

#[cfg(test)]
mod tests {
    use flash_protocol::manifest::WorkerType;

    use super::*;
    use crate::deploy::fixtures::manifest;

    fn files(entries: &[(&str, &str, bool)]) -> BTreeMap<String, FileSpec> {
        let file = |(path, sha256, executable): &(&str, &str, bool)| {
            ((*path).to_owned(), FileSpec { sha256: (*sha256).to_owned(), executable: *executable })
        };
        entries.iter().map(file).collect()
    }

    #[test]
    fn equal_content_has_an_equal_digest_and_any_difference_another() {
        let binaries = BTreeMap::from([("w".to_owned(), "aa".to_owned())]);
        let one = digest(&binaries, &files(&[("a", "1", false)]));
        assert_eq!(one, digest(&binaries.clone(), &files(&[("a", "1", false)])));
        let others = [
            digest(&binaries, &files(&[("a", "2", false)])),
            digest(&binaries, &files(&[("a", "1", true)])),
            digest(&binaries, &files(&[("b", "1", false)])),
            digest(&BTreeMap::new(), &files(&[("a", "1", false)])),
        ];
        assert!(others.iter().all(|other| *other != one) && one.len() == 64, "{one}");
    }

    #[test]
    fn images_have_a_digest_over_all_of_them_and_programs_of_their_own_are_left_out() {
        let images = |digest: &str| {
            let image =
                |worker: &WorkerType| (worker.name.clone(), format!("ghcr.io/me/app@sha256:{digest}"));
            manifest().workers.iter().map(image).collect::<BTreeMap<_, _>>()
        };
        assert_eq!(digest_of_images(&images("1")), digest_of_images(&images("1")));
        assert_ne!(digest_of_images(&images("1")), digest_of_images(&images("2")));
        let text = "[workers.script]\ncommand = [\"python3\"]\n[environments.a]\ntarget = \"runpod\"\n\
                    network_volumes = [\"vol1\"]\n";
        let config = Config::parse(text, Path::new("flash.toml")).unwrap();
        let record = Record::new(manifest(), None, "1".to_owned());
        let environment = config.environment("a").unwrap();
        let shipment = release_of_images(&record, images("1"), &config, environment, "release").unwrap();
        assert!(shipment.spec.manifest.worker("script").is_none() && shipment.spec.commands.is_empty());
        assert_eq!(shipment.spec.manifest.workers.len(), manifest().workers.len());
        assert_eq!(shipment.spec.cloud.network_volumes, ["vol1"]);
    }

    #[test]
    fn an_image_built_elsewhere_is_in_both_kinds_of_release_by_its_digest() {
        let text = "[workers.llm]\nimage = \"ghcr.io/me/llm:1\"\nargs = [\"-v\"]\n[environments.a]\ntarget = \
                    \"runpod\"\n";
        let config = Config::parse(text, Path::new("flash.toml")).unwrap();
        let external = ExternalImage {
            worker: "llm".to_owned(),
            name: "ghcr.io/me/llm:1".to_owned(),
            image: "ghcr.io/me/llm@sha256:1".to_owned(),
        };
        let expected = Program::Image {
            image: external.image.clone(),
            entrypoint: Vec::new(),
            arguments: vec!["-v".to_owned()],
        };
        let mut record = Record::new(manifest(), None, "1".to_owned());
        record.external = vec![external.clone()];
        let environment = config.environment("a").unwrap();
        let images = BTreeMap::new();
        let shipment = release_of_images(&record, images, &config, environment, "release").unwrap();
        assert_eq!(shipment.spec.commands[0].program, expected);
        assert!(shipment.spec.manifest.worker("llm").is_some(), "{:?}", shipment.spec.manifest.workers);
        let own = commands(&config, &manifest(), &BTreeMap::new(), &[external], Path::new("/")).unwrap();
        assert_eq!(own[0].program, expected);
        let unbuilt = unbuilt_release(&manifest(), &config, environment).unwrap();
        assert_eq!(unbuilt.commands[0].program.image(), Some("ghcr.io/me/llm:1"));
    }

    #[test]
    fn a_file_is_hashed_by_its_content_and_read_from_where_it_lies() {
        let directory = tempfile::TempDir::new().unwrap();
        let path = directory.path().join("a");
        std::fs::write(&path, "abc").unwrap();
        let programs = BTreeMap::from([("w".to_owned(), path.clone()), ("v".to_owned(), path.clone())]);
        let hashed = hash(&programs, &BTreeMap::from([("a".to_owned(), (path.clone(), true))])).unwrap();
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(hashed.binaries["w"], abc);
        assert_eq!(hashed.sources, BTreeMap::from([(abc.to_owned(), path)]));
        assert!(hashed.files["a"].executable);
    }

    #[test]
    fn a_program_of_the_crate_must_be_among_its_files() {
        let made = |program: &str, files: &BTreeMap<String, FileSpec>| {
            let text = format!("[workers.script]\ncommand = [\"{program}\", \"-u\"]\n");
            let config = Config::parse(&text, Path::new("flash.toml")).unwrap();
            commands(&config, &manifest(), files, &[], Path::new("/crate"))
        };
        assert!(made("python3", &files(&[])).is_ok() && made("/usr/bin/env", &files(&[])).is_ok());
        let error = made("./bin/serve", &files(&[])).unwrap_err();
        let failure = Failure::from(error).to_string();
        assert!(
            failure.contains("`script`, `./bin/serve`") && failure.contains("[\"bin/serve\"]"),
            "{failure}"
        );
        let found = made("/crate/bin/serve", &files(&[("bin/serve", "1", true)])).unwrap();
        assert_eq!(found[0].program, Program::command("./bin/serve", ["-u"]));
        let error = made("bin/serve", &files(&[("bin/serve", "1", false)])).unwrap_err();
        assert!(matches!(error, ArtifactError::NotExecutable { .. }));
    }
}
