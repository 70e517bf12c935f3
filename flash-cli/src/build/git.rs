//! Which commit a build was made of.
use std::{path::Path, time::Duration};

use serde::{Deserialize, Serialize};
use tokio::process::Command;

/// A look at the work tree of a large repository takes a while; more than this, and something hangs.
const LIMIT: Duration = Duration::from_secs(20);

/// The state of the sources.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Commit {
    /// In full.
    pub commit: String,
    /// Whether files differ from it, or are unknown to it.
    pub dirty: bool,
}

impl Commit {
    /// That of the repository around this directory; `None` outside of one, or without git.
    pub(crate) async fn of(directory: &Path) -> Option<Self> {
        let commit = git(directory, &["rev-parse", "--verify", "HEAD"]).await?.trim().to_owned();
        let changes = git(directory, &["status", "--porcelain", "--", "."]).await?;
        Some(Self { commit, dirty: !changes.trim().is_empty() })
    }

    /// Short, for tags: `1a2b3c4d5e6f`, or with `-dirty`.
    pub(crate) fn short(&self) -> String {
        let commit = self.commit.get(..12).unwrap_or(&self.commit);
        if self.dirty { format!("{commit}-dirty") } else { commit.to_owned() }
    }
}

async fn git(directory: &Path, arguments: &[&str]) -> Option<String> {
    let mut command = Command::new("git");
    // Locks of the index are for commands that change something.
    command.arg("--no-optional-locks").arg("-C").arg(directory).args(arguments).kill_on_drop(true);
    let output = tokio::time::timeout(LIMIT, command.output()).await.ok()?.ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_change_makes_a_tree_dirty() {
        let directory = tempfile::TempDir::new().unwrap();
        let here = directory.path();
        assert_eq!(Commit::of(here).await, None);
        let say = async |arguments: &[&str]| git(here, arguments).await.unwrap();
        say(&["init", "-q"]).await;
        std::fs::write(here.join("a"), "1").unwrap();
        say(&["add", "a"]).await;
        say(&["-c", "user.name=a", "-c", "user.email=a@b.c", "commit", "-q", "-m", "a"]).await;
        let clean = Commit::of(here).await.unwrap();
        assert!(!clean.dirty && clean.commit.len() == 40 && clean.short().len() == 12, "{clean:?}");
        std::fs::write(here.join("a"), "2").unwrap();
        let dirty = Commit::of(here).await.unwrap();
        assert!(dirty.dirty && dirty.short().ends_with("-dirty"), "{dirty:?}");
    }
}
