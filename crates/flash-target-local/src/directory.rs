//! The service's data directory: `FLASH_DATA_DIR` and its contents.
//!
//! Only paths and modes; other modules read and write the files.
use std::{
    io,
    os::unix::fs::{DirBuilderExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use flash_target::{EnvironmentId, Problem, TargetError};

/// Overrides the location of the data.
pub(crate) const DATA_DIRECTORY: &str = "FLASH_DATA_DIR";

/// The data of one service. There is one service per directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DataDirectory(PathBuf);

impl DataDirectory {
    /// This user's directory: `FLASH_DATA_DIR`, else `$XDG_DATA_HOME/flash`, else `~/.local/share/flash`.
    ///
    /// # Errors
    /// Without a home directory, and when it cannot be created.
    pub fn of_user() -> Result<Self, TargetError> {
        let variable =
            |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let path = variable(DATA_DIRECTORY)
            .or_else(|| variable("XDG_DATA_HOME").map(|data| data.join("flash")))
            .or_else(|| std::env::home_dir().map(|home| home.join(".local").join("share").join("flash")))
            .ok_or_else(|| {
                TargetError::new(Problem::Refused, "no directory found for the data of local environments")
                    .hint(format!("set {DATA_DIRECTORY} or HOME"))
            })?;
        Self::open(&path)
    }

    /// This directory, created if it is missing.
    ///
    /// # Errors
    /// When it cannot be created, or cannot be closed to other users.
    pub fn open(path: &Path) -> Result<Self, TargetError> {
        let problem = |error: io::Error| {
            TargetError::new(Problem::Failed, format!("cannot use the directory {}", path.display()))
                .because(error)
                .hint(format!("make it writable, or set {DATA_DIRECTORY} to another directory"))
        };
        make_private(path).map_err(problem)?;
        // Stored as an absolute path: the service has another working directory.
        path.canonicalize().map(Self).map_err(problem)
    }

    /// The directory itself, absolute and without symbolic links.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The service's SQLite database: environments, releases, keys, encrypted secrets, costs.
    pub fn database(&self) -> PathBuf {
        self.0.join("flash.db")
    }

    /// The key that secrets are encrypted with.
    pub fn secret_key(&self) -> PathBuf {
        self.0.join("secret.key")
    }

    /// The Unix socket on which the service answers commands.
    pub fn socket(&self) -> PathBuf {
        self.0.join("service.sock")
    }

    /// The key to the socket. Only processes that may read the data can send requests: workers may not, if the
    /// kernel confines them.
    pub fn control_key(&self) -> PathBuf {
        self.0.join("control.key")
    }

    /// The service's own output: its errors, and panics.
    pub fn log(&self) -> PathBuf {
        self.0.join("service.log")
    }

    /// Held by the one service.
    pub fn service_lock(&self) -> PathBuf {
        self.0.join("service.lock")
    }

    /// Held by the one supervisor.
    pub fn supervisor_lock(&self) -> PathBuf {
        self.0.join("supervisor.lock")
    }

    /// The process to signal for a stop.
    pub fn pid_file(&self) -> PathBuf {
        self.0.join("service.pid")
    }

    /// What belongs to one environment.
    pub fn environment(&self, id: &EnvironmentId) -> EnvironmentDirectory {
        EnvironmentDirectory(self.0.join("environments").join(&id.app).join(&id.name))
    }
}

/// What belongs to one environment.
#[derive(Debug, Clone)]
pub struct EnvironmentDirectory(PathBuf);

impl EnvironmentDirectory {
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The data directory it belongs to.
    pub fn data(&self) -> &Path {
        // `environments/APP/NAME` below it.
        self.0.ancestors().nth(3).unwrap_or(&self.0)
    }

    /// Creates it and its subdirectories.
    pub fn make(&self) -> io::Result<()> {
        [self.jobs(), self.logs(), self.artifacts(), self.work()]
            .iter()
            .try_for_each(|path| make_private(path))
    }

    /// The platform's job store.
    pub fn jobs(&self) -> PathBuf {
        self.0.join("jobs")
    }

    pub fn logs(&self) -> PathBuf {
        self.0.join("logs")
    }

    /// The key that signs this environment's webhooks.
    pub fn webhook_secret(&self) -> PathBuf {
        self.0.join("webhook_secret")
    }

    /// Artifacts, each in a directory named by its digest.
    pub fn artifacts(&self) -> PathBuf {
        self.0.join("artifacts")
    }

    pub fn artifact(&self, digest: &str) -> PathBuf {
        self.artifacts().join(digest)
    }

    /// Working directories of workers, one for each release.
    pub fn work(&self) -> PathBuf {
        self.0.join("work")
    }

    /// The working directory of this release's workers.
    pub fn work_of(&self, release: u64) -> PathBuf {
        self.work().join(release.to_string())
    }
}

/// Creates a directory and its parents; only its owner may read it.
pub(crate) fn make_private(path: &Path) -> io::Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    // It may have existed before, open to others.
    if std::fs::metadata(path)?.permissions().mode() & 0o077 != 0 {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o700))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    #[test]
    fn the_data_is_closed_to_others_even_where_the_directory_was_open() {
        let outer = TempDir::new().unwrap();
        let path = outer.path().join("a").join("b");
        std::fs::create_dir_all(&path).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        let directory = DataDirectory::open(&path).unwrap();
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(directory.path()), 0o700);
        let environment = directory.environment(&EnvironmentId::new("app", "production").unwrap());
        environment.make().unwrap();
        assert_eq!(mode(&environment.artifacts()), 0o700);
        assert_eq!(environment.data(), directory.path());
    }

    #[test]
    fn a_directory_that_cannot_be_made_is_named_with_what_to_set() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let error = DataDirectory::open(&file.path().join("below")).unwrap_err();
        assert!(error.message.contains(&file.path().display().to_string()), "{error}");
        assert!(error.hint.unwrap().contains(DATA_DIRECTORY));
    }
}
