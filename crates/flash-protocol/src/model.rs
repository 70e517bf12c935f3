//! Models: which files a worker type loads, and where they come from.
//!
//! Only names are checked here. `flash-weights` finds the files and fetches them.
use std::fmt;

use serde::{Deserialize, Serialize};

/// The model of a worker type, as its author wrote it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ModelSource {
    /// `org/name@revision`, `path:DIR` or `volume:NAME/DIR`.
    pub reference: &'static str,
    /// Patterns of the files that are needed; empty for all.
    pub files: &'static [&'static str],
}

/// The model of a worker type in the manifest.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ModelEntry {
    /// `org/name@revision`, `path:DIR` or `volume:NAME/DIR`.
    pub reference: String,
    /// Patterns of the files that are needed, in which `*` stands for any characters; empty for all files.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<String>,
}

impl From<ModelSource> for ModelEntry {
    fn from(ModelSource { reference, files }: ModelSource) -> Self {
        Self { reference: reference.to_owned(), files: files.iter().map(|&file| file.to_owned()).collect() }
    }
}

impl ModelEntry {
    /// The name by which clients ask for the model: `org/name`, or the last part of the directory.
    pub fn name(&self) -> &str {
        match ModelReference::parse(&self.reference) {
            Ok(ModelReference::Hub(_)) => self.reference.split('@').next().unwrap_or(&self.reference),
            _ => self.reference.rsplit(['/', ':']).find(|part| !part.is_empty()).unwrap_or(&self.reference),
        }
    }
}

/// A reference that is valid.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ModelReference {
    /// A repository of the Hub.
    Hub(HubModel),
    /// A directory of this machine; a relative one is in the crate's directory.
    Path(String),
    /// A directory of a volume.
    Volume {
        /// The volume.
        name: String,
        /// The directory in it; empty for the whole volume.
        directory: String,
    },
}

/// A repository of the Hub at a revision.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HubModel {
    /// `org/name`.
    pub repo: String,
    /// A branch, a tag or a commit; `main` if the reference names none.
    pub revision: String,
}

impl HubModel {
    /// Whether the revision is a commit, which never changes.
    pub fn is_pinned(&self) -> bool {
        is_commit(&self.revision)
    }
}

impl fmt::Display for HubModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.repo, self.revision)
    }
}

impl fmt::Display for ModelReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hub(model) => model.fmt(f),
            Self::Path(directory) => write!(f, "path:{directory}"),
            Self::Volume { name, directory } if directory.is_empty() => write!(f, "volume:{name}"),
            Self::Volume { name, directory } => write!(f, "volume:{name}/{directory}"),
        }
    }
}

/// Why a reference or a pattern is not valid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{written}` is no model: {problem}")]
pub struct InvalidModel {
    /// As it was written.
    pub written: String,
    /// What is wrong with it, and the form that is expected.
    pub problem: &'static str,
}

impl ModelReference {
    /// Reads a reference.
    ///
    /// # Errors
    /// What is wrong with it. Names that could leave their directory are not valid.
    pub fn parse(text: &str) -> Result<Self, InvalidModel> {
        if let Some(problem) = reference_problem(text) {
            return Err(InvalidModel { written: text.to_owned(), problem });
        }
        Ok(if let Some(directory) = text.strip_prefix("path:") {
            Self::Path(directory.to_owned())
        } else if let Some(place) = text.strip_prefix("volume:") {
            let (name, directory) = place.split_once('/').unwrap_or((place, ""));
            Self::Volume { name: name.to_owned(), directory: directory.trim_end_matches('/').to_owned() }
        } else {
            let (repo, revision) = text.split_once('@').unwrap_or((text, "main"));
            Self::Hub(HubModel { repo: repo.to_owned(), revision: revision.to_owned() })
        })
    }
}

/// Whether this is the full name of a commit: 40 lower-case hex digits.
pub fn is_commit(text: &str) -> bool {
    text.len() == 40 && text.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'a'..=b'f'))
}

/// The largest number of patterns.
pub(crate) const MAX_PATTERNS: usize = 64;

const REPO: &str = "expected `org/name` or `org/name@revision`, of letters, digits, `-`, `_` and `.`";
const REVISION: &str = "the revision after `@` must be a branch, a tag or a commit";
const PATH: &str = "expected a directory after `path:`, as in `path:models/mine`";
const VOLUME: &str = "expected `volume:NAME/DIRECTORY`, without `..`";

/// What is wrong with a reference.
pub(crate) const fn reference_problem(text: &str) -> Option<&'static str> {
    let bytes = text.as_bytes();
    if bytes.len() > 512 {
        return Some("it is longer than 512 characters");
    }
    if let Some(at) = after(bytes, b"path:") {
        return if at < bytes.len() && is_printable(bytes) { None } else { Some(PATH) };
    }
    if let Some(at) = after(bytes, b"volume:") {
        return match is_relative(bytes, at, bytes.len()) {
            true if is_printable(bytes) => None,
            _ => Some(VOLUME),
        };
    }
    let at = find(bytes, 0, b'@');
    let slash = find(bytes, 0, b'/');
    if slash >= at || !is_name(bytes, 0, slash) || !is_name(bytes, slash + 1, at) {
        return Some(REPO);
    }
    if at < bytes.len() && !(is_relative(bytes, at + 1, bytes.len()) && is_revision(bytes, at + 1)) {
        return Some(REVISION);
    }
    None
}

/// What is wrong with a pattern of files.
pub(crate) const fn pattern_problem(text: &str) -> Option<&'static str> {
    let bytes = text.as_bytes();
    if bytes.len() > 256 || !is_relative(bytes, 0, bytes.len()) || !is_printable(bytes) {
        return Some(
            "a pattern names files below the model's directory, as in `*.safetensors`, without `..`",
        );
    }
    None
}

const fn after(bytes: &[u8], prefix: &[u8]) -> Option<usize> {
    let mut at = 0;
    while at < prefix.len() {
        if at >= bytes.len() || bytes[at] != prefix[at] {
            return None;
        }
        at += 1;
    }
    Some(at)
}

/// The index of a byte, or the length.
const fn find(bytes: &[u8], mut at: usize, byte: u8) -> usize {
    while at < bytes.len() && bytes[at] != byte {
        at += 1;
    }
    at
}

/// One part of a repository's name.
const fn is_name(bytes: &[u8], start: usize, end: usize) -> bool {
    if start >= end || end - start > 96 || bytes[start] == b'.' || bytes[start] == b'-' {
        return false;
    }
    let mut at = start;
    while at < end {
        let byte = bytes[at];
        // In the cache, `--` separates the parts of a name.
        let separates = at + 1 < end && byte == b'-' && bytes[at + 1] == b'-';
        let climbs = at + 1 < end && byte == b'.' && bytes[at + 1] == b'.';
        if separates || climbs || !(byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.')) {
            return false;
        }
        at += 1;
    }
    true
}

const fn is_revision(bytes: &[u8], mut at: usize) -> bool {
    if bytes[at] == b'-' {
        return false;
    }
    while at < bytes.len() {
        if !(bytes[at].is_ascii_alphanumeric() || matches!(bytes[at], b'-' | b'_' | b'.' | b'/' | b'+')) {
            return false;
        }
        at += 1;
    }
    true
}

/// Whether each part between slashes is a name, and none leads upwards. An ending slash is allowed.
const fn is_relative(bytes: &[u8], mut start: usize, end: usize) -> bool {
    if start >= end {
        return false;
    }
    while start < end {
        let mut stop = find(bytes, start, b'/');
        if stop > end {
            stop = end;
        }
        let is_dots =
            bytes[start] == b'.' && (stop - start == 1 || (stop - start == 2 && bytes[start + 1] == b'.'));
        if stop == start || is_dots {
            return false;
        }
        start = stop + 1;
    }
    true
}

const fn is_printable(bytes: &[u8]) -> bool {
    let mut at = 0;
    while at < bytes.len() {
        if bytes[at] < b' ' || bytes[at] == 0x7f || bytes[at] == b'\\' {
            return false;
        }
        at += 1;
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_names_a_repository_and_its_revision_a_directory_or_a_volume() {
        let hub = |repo: &str, revision: &str| {
            ModelReference::Hub(HubModel { repo: repo.into(), revision: revision.into() })
        };
        let volume = |name: &str, directory: &str| ModelReference::Volume {
            name: name.into(),
            directory: directory.into(),
        };
        for (text, expected) in [
            ("org/name", hub("org/name", "main")),
            ("a-b/c_d.e@v1.0", hub("a-b/c_d.e", "v1.0")),
            ("org/name@refs/pr/1", hub("org/name", "refs/pr/1")),
            ("path:../models", ModelReference::Path("../models".into())),
            ("path:/opt/m", ModelReference::Path("/opt/m".into())),
            ("volume:weights", volume("weights", "")),
            ("volume:weights/a/b/", volume("weights", "a/b")),
        ] {
            assert_eq!(ModelReference::parse(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn a_reference_that_could_leave_its_directory_or_means_nothing_is_refused() {
        for text in [
            "",
            "name",
            "/name",
            "org/",
            "org/a/b",
            "../name",
            "org/..",
            "org/a..b",
            "org/a--b",
            ".org/a",
            "org/a@",
            "org/a@../../x",
            "org/a@x/./y",
            "org/a@/x",
            "org/a@x y",
            "org/a@-x",
            "org/a b",
            "org/ä",
            "path:",
            "volume:",
            "volume:/a",
            "volume:a/../b",
            "volume:a//b",
            "org/a@b@c",
            "path:a\nb",
        ] {
            assert!(ModelReference::parse(text).is_err(), "{text}");
        }
        let long = format!("org/{}", "a".repeat(600));
        assert!(ModelReference::parse(&long).is_err());
        for pattern in ["", "/a", "../a", "a/../b", "a\\b", "a//b"] {
            assert!(pattern_problem(pattern).is_some(), "{pattern}");
        }
        for pattern in ["*", "*.safetensors", "onnx/model.onnx", "a/*"] {
            assert_eq!(pattern_problem(pattern), None, "{pattern}");
        }
    }

    #[test]
    fn a_model_is_asked_for_by_its_repository_or_its_directory() {
        for (reference, name) in [
            ("org/name@v1", "org/name"),
            ("path:models/mine/", "mine"),
            ("path:mine", "mine"),
            ("volume:weights/a/b", "b"),
        ] {
            let entry = ModelEntry { reference: reference.into(), files: Vec::new() };
            assert_eq!(entry.name(), name, "{reference}");
        }
    }
}
