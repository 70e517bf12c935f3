//! The commit that a build was made from.
use std::{
    collections::HashSet,
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use serde::{Deserialize, Serialize};
use tokio::process::Command;

/// Checking the work tree of a large repository takes a while; longer than this means that something hangs.
const LIMIT: Duration = Duration::from_secs(20);

/// The state of the sources.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Commit {
    /// In full.
    pub commit: String,
    /// Whether files differ from it, or are not tracked.
    pub dirty: bool,
}

/// Why it is not known.
#[derive(Debug, thiserror::Error)]
pub(crate) enum GitError {
    #[error("cannot start `git`")]
    NotStarted(#[source] io::Error),
    #[error("`git {command}` did not finish within {} s", LIMIT.as_secs())]
    Late { command: &'static str },
    #[error("`git {command}` failed: {said}")]
    Failed { command: &'static str, said: String },
}

impl Commit {
    /// The commit of the repository around the first of these directories, and whether anything differs in any of
    /// them; `None` outside a repository, and in one without a commit.
    ///
    /// # Errors
    /// When there is a repository and git fails.
    pub(crate) async fn of(directories: &[PathBuf]) -> Result<Option<Self>, GitError> {
        let Some(first) = directories.first().filter(|first| is_in_repository(first)) else {
            return Ok(None);
        };
        // Without a commit there is nothing to compare with.
        if git(first, "rev-list", &["--max-count=1", "--all"]).await?.trim().is_empty() {
            return Ok(None);
        }
        let commit = git(first, "rev-parse", &["--verify", "HEAD"]).await?.trim().to_owned();
        let mut dirty = false;
        for directory in directories {
            dirty |= !is_in_repository(directory) || is_changed(directory).await?;
        }
        Ok(Some(Self { commit, dirty }))
    }

    /// Short, for tags: `1a2b3c4d5e6f`, or with `-dirty`.
    pub(crate) fn short(&self) -> String {
        let commit = self.commit.get(..12).unwrap_or(&self.commit);
        if self.dirty { format!("{commit}-dirty") } else { commit.to_owned() }
    }
}

/// The first of these files that is in no commit, if any.
pub(crate) async fn unknown_file<'a>(
    directory: &Path,
    files: impl Iterator<Item = &'a Path>,
) -> Result<Option<PathBuf>, GitError> {
    let known = git(directory, "ls-files", &["-z", "--cached", "--", "."]).await?;
    let known: HashSet<&str> = known.split('\0').collect();
    let is_known = |file: &&Path| file.to_str().is_some_and(|file| known.contains(file));
    Ok(files.into_iter().find(|file| !is_known(file)).map(Path::to_owned))
}

fn is_in_repository(directory: &Path) -> bool {
    directory.ancestors().any(|above| above.join(".git").exists())
}

async fn is_changed(directory: &Path) -> Result<bool, GitError> {
    // Overrides the user's configuration for untracked files: a new source file is a change.
    let changes = git(directory, "status", &["--porcelain", "--untracked-files=normal", "--", "."]).await?;
    Ok(!changes.trim().is_empty())
}

async fn git(directory: &Path, name: &'static str, arguments: &[&str]) -> Result<String, GitError> {
    let mut command = Command::new("git");
    // Only commands that change something need locks of the index.
    command.arg("--no-optional-locks").arg("-C").arg(directory).arg(name).args(arguments).kill_on_drop(true);
    let output = tokio::time::timeout(LIMIT, command.output())
        .await
        .map_err(|_| GitError::Late { command: name })?
        .map_err(GitError::NotStarted)?;
    match output.status.success() {
        true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
        false => {
            let said = String::from_utf8_lossy(&output.stderr).trim().replace('\n', " ");
            Err(GitError::Failed { command: name, said })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn at(directory: &Path) -> Option<Commit> {
        Commit::of(&[directory.to_owned()]).await.unwrap()
    }

    #[tokio::test]
    async fn a_change_makes_a_tree_dirty() {
        let directory = tempfile::TempDir::new().unwrap();
        let here = directory.path();
        assert_eq!(at(here).await, None);
        let say = async |name: &'static str, arguments: &[&str]| git(here, name, arguments).await.unwrap();
        say("init", &["-q"]).await;
        assert_eq!(at(here).await, None, "without a commit");
        std::fs::write(here.join("a"), "1").unwrap();
        say("add", &["a"]).await;
        say("config", &["user.name", "a"]).await;
        say("config", &["user.email", "a@b.c"]).await;
        say("config", &["status.showUntrackedFiles", "no"]).await;
        say("commit", &["-q", "-m", "a"]).await;
        let clean = at(here).await.unwrap();
        assert!(!clean.dirty && clean.commit.len() == 40 && clean.short().len() == 12, "{clean:?}");
        let files = ["a", "b"].map(Path::new);
        assert_eq!(unknown_file(here, files.into_iter()).await.unwrap(), Some("b".into()));
        std::fs::write(here.join("b"), "2").unwrap();
        let dirty = at(here).await.unwrap();
        assert!(dirty.dirty && dirty.short().ends_with("-dirty"), "{dirty:?}");
    }

    #[tokio::test]
    async fn a_broken_repository_is_no_missing_one() {
        let directory = tempfile::TempDir::new().unwrap();
        std::fs::write(directory.path().join(".git"), "no repository").unwrap();
        assert!(matches!(Commit::of(&[directory.path().to_owned()]).await, Err(GitError::Failed { .. })));
    }
}
