//! The app binary: cargo builds it, and it describes itself.
use std::{
    collections::{BTreeSet, HashSet},
    ffi::OsString,
    io,
    os::unix::process::ExitStatusExt as _,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use cargo_metadata::{
    CompilerMessage, Message, PackageId,
    diagnostic::{Diagnostic, DiagnosticLevel},
};
use flash_image::registry::REGISTRY_VARIABLES;
use flash_process::parent_death::{self, OnParentDeath};
use flash_protocol::{
    exit_code,
    manifest::{MANIFEST_VERSION, Manifest},
    variables,
};
use nix::sys::signal::Signal;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::Command,
};

use super::{Config, ConfigError, Package, dep_info::files_read_for, entry};
use crate::output::Output;

/// How long a binary may take to describe itself.
const DESCRIBE_LIMIT: Duration = Duration::from_secs(20);

/// How to build.
#[derive(Debug, Clone, Default)]
pub(crate) struct Build {
    /// Additional arguments for cargo, such as a profile.
    pub arguments: Vec<OsString>,
    pub features: Vec<String>,
    /// Variables for cargo, in addition to this process's environment.
    pub environment: Vec<(String, OsString)>,
}

/// What cargo built.
#[derive(Debug, Clone)]
pub(crate) struct BuiltApp {
    pub program: PathBuf,
    /// All packages compiled for it, including those of build scripts and macros.
    pub packages: HashSet<PackageId>,
    /// All files of local crates it was built from, wherever they are.
    pub files: BTreeSet<PathBuf>,
}

/// Why there is no binary.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BuildError {
    #[error("cannot start `cargo`")]
    NoCargo(#[source] io::Error),
    /// The reason was printed on stderr.
    #[error("the build of `{package}` failed")]
    Failed {
        package: String,
        /// The compiler's errors, without colors; empty where cargo itself found the reason.
        errors: String,
    },
    #[error("cargo built no binary `{0}`")]
    NoBinary(String),
}

/// Announces that a build will take a while, if cargo has compiled nothing yet.
pub(crate) fn print_first_build(package: &Package, target: Option<&str>, profile: &str, output: &Output) {
    if package.is_first_build(target, profile) {
        let name = &package.name;
        output.status("Compiling", &format!("{name} and its dependencies: the first build takes minutes"));
    }
}

/// Builds the package. Cargo's own messages go to stderr as it prints them, and those of the compiler as they come.
///
/// # Errors
/// When cargo fails. Dropping the future stops cargo.
pub(crate) async fn build(package: &Package, how: &Build, output: &Output) -> Result<BuiltApp, BuildError> {
    let mut command = Command::new("cargo");
    without_credentials(&mut command);
    let inherited = std::env::vars_os().map(|(name, _)| name);
    for name in inherited.filter(|name| name.to_str().is_some_and(is_of_another_package)) {
        command.env_remove(name);
    }
    command
        // Cargo selects its toolchain and configuration by its working directory.
        .current_dir(&package.directory)
        // Not rendered by cargo: they are also shown elsewhere.
        .args(["build", "--message-format", "json-diagnostic-rendered-ansi", "--bin", &package.binary])
        .arg("--manifest-path")
        .arg(package.directory.join("Cargo.toml"))
        .args(&how.arguments)
        .envs(how.environment.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .kill_on_drop(true);
    if !how.features.is_empty() {
        command.args(["--features", &how.features.join(",")]);
    }
    let mut cargo = parent_death::spawn(command, OnParentDeath::Kill).await.map_err(BuildError::NoCargo)?;
    let (mut executable, mut packages, mut errors) = (None, HashSet::new(), String::new());
    if let Some(stdout) = cargo.stdout.take() {
        let mut lines = BufReader::new(stdout).lines();
        while let Some(line) = lines.next_line().await.map_err(BuildError::NoCargo)? {
            let artifact = match serde_json::from_str(&line) {
                Ok(Message::CompilerArtifact(artifact)) => artifact,
                Ok(Message::CompilerMessage(CompilerMessage { message, .. })) => {
                    if is_count(&message) {
                        continue;
                    }
                    let rendered = message.rendered.unwrap_or(message.message);
                    output.compiler(&rendered);
                    if matches!(message.level, DiagnosticLevel::Error | DiagnosticLevel::Ice) {
                        errors.extend(anstream::adapter::strip_str(&rendered));
                    }
                    continue;
                }
                _ => continue,
            };
            packages.insert(artifact.package_id);
            if artifact.target.name == package.binary
                && let Some(path) = artifact.executable
            {
                executable = Some(path.into_std_path_buf());
            }
        }
    }
    let status = cargo.wait().await.map_err(BuildError::NoCargo)?;
    if !status.success() {
        return Err(BuildError::Failed { package: package.name.clone(), errors });
    }
    let program = executable.ok_or_else(|| BuildError::NoBinary(package.binary.clone()))?;
    let files = files_read_for(&program, &package.workspace);
    Ok(BuiltApp { program, packages, files })
}

/// Whether the compiler only says how many messages there were, which cargo leaves out too.
fn is_count(message: &Diagnostic) -> bool {
    let text = message.message.as_str();
    message.spans.is_empty() && (text.starts_with("aborting due to") || text.ends_with(" emitted"))
}

/// Build scripts and apps must not get credentials for registries.
fn without_credentials(command: &mut Command) {
    for name in REGISTRY_VARIABLES {
        command.env_remove(name);
    }
}

/// Whether cargo sets this variable for a program or test that it runs, to tell it of its package. Build scripts watch
/// some of them (that of `ring` does): if `flash` is started by such a program, they would run again and much be built
/// anew, and once more when `flash` is started by hand.
fn is_of_another_package(variable: &str) -> bool {
    let prefixes = ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "CARGO_CRATE_"];
    variable == "OUT_DIR" || prefixes.iter().any(|prefix| variable.starts_with(prefix))
}

/// Why a binary's manifest cannot be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DescribeError {
    #[error("cannot read {}", program.display())]
    Read { program: PathBuf, source: io::Error },
    /// It was not run: that would have run the user's own `main`.
    #[error("{} is not a Flash app: its `main` does not have `#[flash_sdk::main]`", .0.display())]
    NoEntry(PathBuf),
    #[error("cannot start {}", program.display())]
    Start { program: PathBuf, source: io::Error },
    #[error("{} did not describe itself within {} s", .0.display(), DESCRIBE_LIMIT.as_secs())]
    Late(PathBuf),
    /// The problem that the binary itself reports about the app.
    #[error("the app is invalid:\n{0}")]
    Refused(String),
    /// It uses instructions that this machine does not have.
    #[error("{} was built for a newer processor than this machine's", .0.display())]
    OtherProcessor(PathBuf),
    #[error("{} did not describe itself: {reason}", program.display())]
    NotDescribed { program: PathBuf, reason: String },
    #[error(
        "the binary was built with flash-sdk {sdk}, whose manifest (version {version}) this version of flash \
         cannot read"
    )]
    Version { sdk: String, version: u32 },
    #[error("crate `{0}` has no `#[remote]` items, and flash.toml has no [workers.NAME]")]
    Empty(String),
    /// The project's settings do not fit the app.
    #[error(transparent)]
    Config(#[from] ConfigError),
}

/// Asks a binary to describe itself, with these variables set, and checks its manifest against the project's
/// settings.
///
/// # Errors
/// When it does not answer, or when its manifest cannot be run.
pub(crate) async fn describe(
    program: &Path,
    directory: &Path,
    environment: &[(String, OsString)],
    config: &Config,
) -> Result<Manifest, DescribeError> {
    let manifest = ask(program, directory, environment).await?;
    let has_code = !manifest.functions.is_empty() || manifest.routers().next().is_some();
    if !has_code && config.commands().is_empty() {
        return Err(DescribeError::Empty(manifest.app.name));
    }
    config.check_against(&manifest)?;
    Ok(manifest)
}

async fn ask(
    program: &Path,
    directory: &Path,
    environment: &[(String, OsString)],
) -> Result<Manifest, DescribeError> {
    let file = program.to_owned();
    let looked = tokio::task::spawn_blocking(move || entry::is_app(&file)).await;
    match looked.unwrap_or_else(|ended| Err(io::Error::other(ended))) {
        Ok(true) => {}
        Ok(false) => return Err(DescribeError::NoEntry(program.to_owned())),
        Err(source) => return Err(DescribeError::Read { program: program.to_owned(), source }),
    }
    let mut command = Command::new(program);
    without_credentials(&mut command);
    command.envs(environment.iter().map(|(name, value)| (name, value)));
    command
        .env(variables::ROLE, "describe")
        .current_dir(directory)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    let described =
        async { parent_death::spawn(command, OnParentDeath::Kill).await?.wait_with_output().await };
    let output = tokio::time::timeout(DESCRIBE_LIMIT, described)
        .await
        .map_err(|_| DescribeError::Late(program.to_owned()))?
        .map_err(|source| DescribeError::Start { program: program.to_owned(), source })?;
    let cannot_run = output.status.signal() == Some(Signal::SIGILL as i32)
        || output.status.code() == Some(exit_code::OTHER_PROCESSOR);
    if cannot_run {
        return Err(DescribeError::OtherProcessor(program.to_owned()));
    }
    if let (Some(signal), []) = (output.status.signal(), output.stderr.trim_ascii()) {
        let said = format!("{} was killed by signal {signal}", program.display());
        return Err(DescribeError::Refused(said));
    }
    if !output.status.success() {
        return Err(DescribeError::Refused(String::from_utf8_lossy(&output.stderr).trim().to_owned()));
    }
    let not_described = |reason: String| DescribeError::NotDescribed { program: program.to_owned(), reason };
    let value: serde_json::Value = serde_json::from_slice(&output.stdout)
        .map_err(|_| not_described("it printed no valid manifest".to_owned()))?;
    // Read before the rest: another version may have another structure.
    let version = value.get("version").and_then(serde_json::Value::as_u64).unwrap_or_default();
    if version != u64::from(MANIFEST_VERSION) {
        let sdk =
            value.get("sdk_version").and_then(|sdk| sdk.as_str()).unwrap_or("of unknown version").to_owned();
        return Err(DescribeError::Version { sdk, version: u32::try_from(version).unwrap_or(0) });
    }
    let manifest: Manifest =
        serde_json::from_value(value).map_err(|error| not_described(error.to_string()))?;
    Ok(manifest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_build_is_told_nothing_of_the_package_whose_test_started_flash() {
        for variable in
            ["CARGO_MANIFEST_DIR", "CARGO_MANIFEST_LINKS", "CARGO_PKG_NAME", "CARGO_BIN_EXE_flash", "OUT_DIR"]
        {
            assert!(is_of_another_package(variable), "{variable}");
        }
        for variable in
            ["CARGO_HOME", "CARGO_TARGET_DIR", "CARGO_PROFILE_DEV_DEBUG", "CARGO_BUILD_JOBS", "RUSTFLAGS"]
        {
            assert!(!is_of_another_package(variable), "{variable} is the user's");
        }
    }
}
