//! The Hub's cache: its layout on disk, and what is there. Shared with `huggingface_hub` and everything built on it.
//!
//! ```text
//! models--org--name/
//!   blobs/HASH                       the content; HASH.incomplete while it is fetched
//!   refs/main                        the commit that a branch or tag meant when it was last fetched
//!   snapshots/COMMIT/config.json     a link to ../../blobs/HASH
//! ```
use std::{
    collections::BTreeSet,
    io,
    path::{Path, PathBuf},
};

use flash_protocol::HubModel;

use crate::patterns::{Patterns, files_below};

/// The Hub's cache directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HubCache {
    root: PathBuf,
}

/// A model in the cache, at one commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// The commit.
    pub commit: String,
    /// Where its files are.
    pub directory: PathBuf,
}

impl HubCache {
    /// A cache in this directory.
    pub fn at(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// The user's cache: `HF_HUB_CACHE`, else `HF_HOME/hub`, else `~/.cache/huggingface/hub`. `None` without a home
    /// directory.
    pub fn from_env() -> Option<Self> {
        Self::from_variables(|name| std::env::var(name).ok().filter(|value| !value.is_empty()))
    }

    /// As [`from_env`](Self::from_env), with the variables from elsewhere.
    pub fn from_variables(get: impl Fn(&str) -> Option<String>) -> Option<Self> {
        let home = || get("HOME").map(PathBuf::from);
        let root = match (get("HF_HUB_CACHE").or_else(|| get("HUGGINGFACE_HUB_CACHE")), get("HF_HOME")) {
            (Some(cache), _) => PathBuf::from(cache),
            (None, Some(home)) => Path::new(&home).join("hub"),
            (None, None) => match get("XDG_CACHE_HOME") {
                Some(cache) => PathBuf::from(cache),
                None => home()?.join(".cache"),
            }
            .join("huggingface/hub"),
        };
        Some(Self::at(match root.strip_prefix("~") {
            Ok(below) => home()?.join(below),
            Err(_) => root,
        }))
    }

    /// Its directory.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where everything of a repository is kept.
    pub fn repo(&self, model: &HubModel) -> PathBuf {
        self.root.join(format!("models--{}", model.repo.replace('/', "--")))
    }

    /// Where the lock files of a repository are: beside the models, as the Hub's own client has them.
    #[cfg(feature = "download")]
    pub(crate) fn locks(&self, model: &HubModel) -> PathBuf {
        self.root.join(".locks").join(self.repo(model).file_name().unwrap_or_default())
    }

    /// Where the files of a commit are.
    pub fn snapshot(&self, model: &HubModel, commit: &str) -> PathBuf {
        self.repo(model).join("snapshots").join(commit)
    }

    /// The file that says which commit a branch or tag is.
    pub(crate) fn reference(&self, model: &HubModel) -> PathBuf {
        self.repo(model).join("refs").join(&model.revision)
    }

    /// The commit of a revision, as far as the cache knows it.
    pub fn commit(&self, model: &HubModel) -> Option<String> {
        if model.is_pinned() {
            return Some(model.revision.clone());
        }
        let commit = std::fs::read_to_string(self.reference(model)).ok()?;
        Some(commit.trim().to_owned()).filter(|commit| flash_protocol::is_commit(commit))
    }

    /// The commits of a repository that have files here.
    ///
    /// # Errors
    /// When the directory is there and cannot be read.
    pub fn commits(&self, model: &HubModel) -> io::Result<BTreeSet<String>> {
        let entries = match std::fs::read_dir(self.repo(model).join("snapshots")) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeSet::new()),
            entries => entries?,
        };
        let name =
            |entry: io::Result<std::fs::DirEntry>| Ok(entry?.file_name().to_string_lossy().into_owned());
        entries.map(name).collect()
    }

    /// The model, if a file for each pattern is there. Which files the commit has altogether only the Hub and the
    /// lock file know.
    pub fn find(&self, model: &HubModel, files: &Patterns) -> Option<Snapshot> {
        let commit = self.commit(model)?;
        let directory = self.snapshot(model, &commit);
        let names = files_below(&directory).ok()?;
        files.unmatched(&names).is_empty().then_some(Snapshot { commit, directory })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cache_is_where_the_variables_of_the_hubs_own_client_say() {
        let root = |set: &[(&str, &str)]| {
            let get = |name: &str| {
                set.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
            };
            HubCache::from_variables(get).map(|cache| cache.root.to_str().unwrap().to_owned())
        };
        assert_eq!(root(&[("HOME", "/h"), ("HF_HOME", "/b"), ("HF_HUB_CACHE", "/a")]).unwrap(), "/a");
        assert_eq!(root(&[("HOME", "/h"), ("HF_HOME", "/b")]).unwrap(), "/b/hub");
        assert_eq!(root(&[("HOME", "/h"), ("HF_HOME", "~/b")]).unwrap(), "/h/b/hub");
        assert_eq!(root(&[("XDG_CACHE_HOME", "/x")]).unwrap(), "/x/huggingface/hub");
        assert_eq!(root(&[("HOME", "/h")]).unwrap(), "/h/.cache/huggingface/hub");
        assert_eq!(root(&[]), None);
    }

    #[test]
    fn a_model_is_found_by_branch_and_by_commit_when_a_file_for_each_pattern_is_there() {
        let directory = tempfile::TempDir::new().unwrap();
        let cache = HubCache::at(directory.path());
        let commit = "0123456789abcdef0123456789abcdef01234567";
        let at = |revision: &str| HubModel { repo: "org/name".into(), revision: revision.into() };
        let files = Patterns::new(["*.safetensors"]);
        assert_eq!(cache.find(&at("main"), &files), None);
        let repo = directory.path().join("models--org--name");
        let snapshot = repo.join("snapshots").join(commit);
        std::fs::create_dir_all(&snapshot).unwrap();
        std::fs::create_dir_all(repo.join("refs")).unwrap();
        std::fs::write(repo.join("refs/main"), commit).unwrap();
        std::os::unix::fs::symlink("../../blobs/none", snapshot.join("model.safetensors")).unwrap();
        assert_eq!(cache.find(&at("main"), &files), None, "the link leads nowhere");
        std::fs::create_dir_all(repo.join("blobs")).unwrap();
        std::fs::write(repo.join("blobs/none"), "x").unwrap();
        let found = cache.find(&at("main"), &files).unwrap();
        assert_eq!((found.commit.as_str(), &found.directory), (commit, &snapshot));
        assert_eq!(cache.find(&at(commit), &files), Some(found));
        assert_eq!(cache.find(&at("main"), &Patterns::new(["*.gguf"])), None);
    }
}
