//! A new crate below a workspace becomes its member.
use std::{
    fs, io,
    path::{Path, PathBuf},
};

use cargo_metadata::MetadataCommand;
use toml_edit::{Array, DocumentMut, Item, Table, value};

/// Why a crate is no member.
#[derive(Debug, thiserror::Error)]
pub(super) enum JoinError {
    #[error("cannot read {}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("cannot write {}", path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error("cargo cannot read {}", path.display())]
    Cargo { path: PathBuf, source: Box<cargo_metadata::Error> },
    #[error("{} has `members` that are not a list", .0.display())]
    Members(PathBuf),
}

/// The manifest of the workspace that a new crate in this directory would be in: the nearest above it that has a
/// `[workspace]` and does not exclude it.
pub(super) fn above(directory: &Path) -> Option<PathBuf> {
    let manifests = directory.ancestors().skip(1).map(|ancestor| ancestor.join("Cargo.toml"));
    manifests
        .filter_map(|path| Some((fs::read_to_string(&path).ok()?.parse::<DocumentMut>().ok()?, path)))
        .find(|(document, _)| document.contains_key("workspace"))
        .filter(|(document, path)| !excludes(document, path, directory))
        .map(|(_, path)| path)
}

fn excludes(document: &DocumentMut, manifest: &Path, directory: &Path) -> bool {
    let excluded = document["workspace"].get("exclude").and_then(Item::as_array);
    let root = manifest.parent().unwrap_or(manifest);
    excluded
        .into_iter()
        .flatten()
        .filter_map(|path| path.as_str())
        .any(|path| directory.starts_with(root.join(path)))
}

/// Makes the crate a member, unless a pattern in `members` covers it already. Returns whether the manifest changed.
///
/// # Errors
/// When a manifest cannot be read or written.
pub(super) fn join(manifest: &Path, directory: &Path) -> Result<bool, JoinError> {
    if has_member(manifest, directory)? {
        return Ok(false);
    }
    let read = |source| JoinError::Read { path: manifest.to_owned(), source };
    let mut document: DocumentMut = fs::read_to_string(manifest)
        .map_err(read)?
        .parse()
        .map_err(|error| read(io::Error::new(io::ErrorKind::InvalidData, error)))?;
    let root = manifest.parent().unwrap_or(manifest);
    let member = directory.strip_prefix(root).unwrap_or(directory).to_string_lossy().replace('\\', "/");
    let workspace = document.entry("workspace").or_insert_with(|| Item::Table(Table::new()));
    let not_a_list = || JoinError::Members(manifest.to_owned());
    let workspace = workspace.as_table_like_mut().ok_or_else(not_a_list)?;
    let members = workspace.entry("members").or_insert_with(|| value(Array::new()));
    members.as_array_mut().ok_or_else(not_a_list)?.push(member);
    fs::write(manifest, document.to_string())
        .map_err(|source| JoinError::Write { path: manifest.to_owned(), source })?;
    Ok(true)
}

/// Whether cargo takes the crate for a member.
fn has_member(manifest: &Path, directory: &Path) -> Result<bool, JoinError> {
    let cargo = |source| JoinError::Cargo { path: manifest.to_owned(), source: Box::new(source) };
    let metadata = MetadataCommand::new().manifest_path(manifest).no_deps().exec().map_err(cargo)?;
    let wanted = directory.join("Cargo.toml");
    Ok(metadata.workspace_packages().iter().any(|package| package.manifest_path.as_std_path() == wanted))
}

/// Checks that cargo can read the new crate.
///
/// # Errors
/// What cargo says, if it cannot.
pub(super) fn check(directory: &Path) -> Result<(), JoinError> {
    let path = directory.join("Cargo.toml");
    let read = MetadataCommand::new().manifest_path(&path).no_deps().exec();
    read.map(drop).map_err(|source| JoinError::Cargo { path, source: Box::new(source) })
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    fn place(members: &str) -> (TempDir, PathBuf, PathBuf) {
        let root = TempDir::new().unwrap();
        let at = root.path().canonicalize().unwrap();
        fs::write(at.join("Cargo.toml"), format!("# Mine.\n[workspace]\nresolver = \"3\"\n{members}\n"))
            .unwrap();
        let directory = at.join("apps/hello");
        fs::create_dir_all(directory.join("src")).unwrap();
        fs::write(directory.join("src/lib.rs"), "").unwrap();
        let package = "[package]\nname = \"hello\"\nversion = \"0.1.0\"\nedition = \"2024\"\n";
        fs::write(directory.join("Cargo.toml"), package).unwrap();
        (root, at.join("Cargo.toml"), directory)
    }

    #[test]
    fn a_crate_below_a_workspace_becomes_its_member() {
        for members in ["", "members = []"] {
            let (_root, manifest, directory) = place(members);
            assert_eq!(above(&directory).as_ref(), Some(&manifest));
            assert!(join(&manifest, &directory).unwrap());
            let text = fs::read_to_string(&manifest).unwrap();
            assert!(text.starts_with("# Mine.\n") && text.contains("members = [\"apps/hello\"]"), "{text}");
            check(&directory).unwrap();
            assert!(!join(&manifest, &directory).unwrap(), "it is one already");
        }
    }

    #[test]
    fn a_pattern_that_covers_it_stays_as_it_is() {
        let (_root, manifest, directory) = place("members = [\"apps/*\"]");
        let before = fs::read_to_string(&manifest).unwrap();
        assert!(!join(&manifest, &directory).unwrap());
        assert_eq!(fs::read_to_string(&manifest).unwrap(), before);
    }

    #[test]
    fn a_workspace_that_excludes_it_is_not_its_own() {
        let (_root, _manifest, directory) = place("exclude = [\"apps\"]");
        assert_eq!(above(&directory), None);
    }
}
