//! Which paths matter. Pure: the watcher looks at the disk.
use std::{
    collections::BTreeSet,
    ffi::OsStr,
    path::{Path, PathBuf},
};

/// Directories that never hold sources.
const TOOLS: [&str; 2] = ["node_modules", "__pycache__"];

/// An app's sources: absolute paths, links resolved.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Scope {
    roots: BTreeSet<PathBuf>,
    files: BTreeSet<PathBuf>,
    outputs: BTreeSet<PathBuf>,
}

impl Scope {
    /// In `crates`, every file counts that is not hidden and not left by an editor or a tool. `outputs` are where
    /// builds write: nothing in them counts.
    pub(crate) fn new(
        crates: impl IntoIterator<Item = PathBuf>,
        outputs: impl IntoIterator<Item = PathBuf>,
    ) -> Self {
        let roots: BTreeSet<PathBuf> = crates.into_iter().collect();
        // A crate may be in a target directory, which then cannot be left out as a whole.
        let holds_a_crate = |output: &PathBuf| roots.iter().any(|root| root.starts_with(output));
        let outputs = outputs.into_iter().filter(|output| !holds_a_crate(output)).collect();
        Self { roots, files: BTreeSet::new(), outputs }
    }

    /// Files that count wherever they are and whatever their names; they may be missing.
    pub(crate) fn with_files(mut self, files: impl IntoIterator<Item = PathBuf>) -> Self {
        let files = files.into_iter().filter(|file| !self.is_output(file)).collect();
        self.files = files;
        self
    }

    /// Directories other than those of the crates, with the same rules.
    pub(crate) fn with_directories(mut self, directories: impl IntoIterator<Item = PathBuf>) -> Self {
        let more: Vec<PathBuf> =
            directories.into_iter().filter(|directory| !self.is_output(directory)).collect();
        self.roots.extend(more);
        self
    }

    fn is_output(&self, path: &Path) -> bool {
        self.outputs.iter().any(|output| path.starts_with(output))
    }

    pub(super) fn roots(&self) -> &BTreeSet<PathBuf> {
        &self.roots
    }

    pub(super) fn files(&self) -> &BTreeSet<PathBuf> {
        &self.files
    }

    /// Directories whose entries must be watched in addition to the roots: a root or a file can be replaced as a
    /// whole.
    pub(super) fn parents(&self) -> BTreeSet<&Path> {
        self.roots.iter().chain(&self.files).filter_map(|path| path.parent()).collect()
    }

    /// Whether a change of this path may change the app.
    pub(super) fn concerns(&self, path: &Path) -> bool {
        self.is_on_the_way(path) || self.is_in_a_root(path)
    }

    /// Whether this directory below a root can hold sources.
    pub(super) fn is_in_a_root(&self, path: &Path) -> bool {
        !self.is_output(path) && self.roots.iter().any(|root| path.strip_prefix(root).is_ok_and(is_source))
    }

    /// Whether it is a root or a file, or a directory above one: if that is removed or created, so is its content.
    fn is_on_the_way(&self, path: &Path) -> bool {
        // In sorted order, what is below a path comes right after it.
        let leads_to = |paths: &BTreeSet<PathBuf>| {
            paths.range(path.to_owned()..).next().is_some_and(|next| next.starts_with(path))
        };
        leads_to(&self.roots) || leads_to(&self.files)
    }
}

/// A path relative to a root: where the root is does not matter.
fn is_source(relative: &Path) -> bool {
    let mut parts = relative.components().map(|part| part.as_os_str().to_string_lossy());
    let ignored = |part: &str| part.starts_with('.') || TOOLS.contains(&part);
    !parts.any(|part| ignored(&part))
        && !is_temporary(&relative.file_name().unwrap_or(OsStr::new("")).to_string_lossy())
}

/// Files that editors write beside a file.
fn is_temporary(name: &str) -> bool {
    name.ends_with('~')
        || name.ends_with(".swp")
        || name.ends_with(".swx")
        || name == "4913"
        || (name.starts_with('#') && name.ends_with('#'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(paths: &[&str]) -> Vec<PathBuf> {
        paths.iter().map(PathBuf::from).collect()
    }

    #[test]
    fn where_a_crate_lies_says_nothing_of_what_is_in_it() {
        for place in ["/a", "/a/target", "/target/debug", "/home/ada/.cache/x", "/node_modules/a/__pycache__"]
        {
            let root = Path::new(place).join("app");
            let scope = Scope::new([root.clone()], [root.join("target")]);
            for source in [
                "src/main.rs",
                "src/target/mod.rs",
                "flash.toml",
                "model/weights.bin",
                "build.rs",
                "src/target",
                "targets/a",
            ] {
                assert!(scope.concerns(&root.join(source)), "{place} {source}");
            }
            for other in [
                "src/.main.rs.swp",
                "src/main.rs~",
                "src/#main.rs#",
                "src/4913",
                "target",
                "target/debug/app",
                ".flash/run/1",
                ".git/index",
                "web/node_modules/a/index.js",
                "__pycache__/worker.pyc.17",
            ] {
                assert!(!scope.concerns(&root.join(other)), "{place} {other}");
            }
            assert!(!scope.concerns(&Path::new(place).join("other/src/main.rs")));
        }
    }

    #[test]
    fn files_that_were_read_count_whatever_they_are_called() {
        let files =
            paths(&["/b/prompt.txt", "/a/.data/words", "/a/.env", "/a/target/debug/build/x/out/made.rs"]);
        let directories = paths(&["/c/protos", "/a/target/debug/build/x/out"]);
        let scope = Scope::new(paths(&["/a"]), paths(&["/a/target"]));
        let scope = scope.with_files(files).with_directories(directories);
        for file in
            ["/b/prompt.txt", "/a/.data/words", "/a/.env", "/a/.data", "/b", "/a", "/c/protos/x/y.proto"]
        {
            assert!(scope.concerns(Path::new(file)), "{file}");
        }
        // A build's own output would start the next build.
        for other in [
            "/b/other.txt",
            "/a/.data/other",
            "/a/target/debug/build/x/out/made.rs",
            "/a/.envrc",
            "/c/x",
            "/a/target/x",
        ] {
            assert!(!scope.concerns(Path::new(other)), "{other}");
        }
        assert!(scope.parents().contains(Path::new("/b")) && scope.parents().contains(Path::new("/a/.data")));
    }

    #[test]
    fn a_crate_inside_of_a_target_directory_is_watched() {
        let scope = Scope::new(paths(&["/w/target/test/app"]), paths(&["/w/target"]));
        assert!(scope.concerns(Path::new("/w/target/test/app/src/main.rs")));
        assert!(!scope.concerns(Path::new("/w/target/debug/app")));
    }
}
