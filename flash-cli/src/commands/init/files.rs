//! Writes the files of a new crate: all of them, or none.
use std::{
    fs::{self, File},
    io::{self, Write as _},
    path::{Path, PathBuf},
};

/// Why nothing was written.
#[derive(Debug, thiserror::Error)]
pub(super) enum WriteError {
    #[error("{} already has {}: nothing was written", directory.display(), paths.join(", "))]
    Exists { directory: PathBuf, paths: Vec<String> },
    #[error("cannot write {}: what was written is removed again", path.display())]
    Write { path: PathBuf, source: io::Error },
}

/// Writes files into a directory, which is made if it is not there.
///
/// # Errors
/// When one of them is there already, and when one cannot be written. Then none is left.
pub(super) fn write(directory: &Path, files: &[(&str, String)]) -> Result<(), WriteError> {
    let paths: Vec<String> = files
        .iter()
        .filter(|(path, _)| fs::symlink_metadata(directory.join(path)).is_ok())
        .map(|(path, _)| (*path).to_owned())
        .collect();
    if !paths.is_empty() {
        return Err(WriteError::Exists { directory: directory.to_owned(), paths });
    }
    let mut made = Made::default();
    for (path, text) in files {
        let path = directory.join(path);
        made.file(&path, text).map_err(|source| WriteError::Write { path, source })?;
    }
    made.keep();
    Ok(())
}

/// What was made so far; removed when dropped.
#[derive(Default)]
struct Made {
    files: Vec<PathBuf>,
    /// The outermost first.
    directories: Vec<PathBuf>,
}

impl Made {
    fn file(&mut self, path: &Path, text: &str) -> io::Result<()> {
        let missing = path.ancestors().skip(1).take_while(|directory| !directory.exists());
        let mut missing: Vec<_> =
            missing.filter(|path| !path.as_os_str().is_empty()).map(Path::to_owned).collect();
        missing.reverse();
        for directory in missing {
            fs::create_dir(&directory)?;
            self.directories.push(directory);
        }
        let mut file = File::create_new(path)?;
        self.files.push(path.to_owned());
        file.write_all(text.as_bytes())
    }

    fn keep(mut self) {
        self.files.clear();
        self.directories.clear();
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        // What cannot be removed stays: the error that led here is the one to report.
        for file in &self.files {
            let _ = fs::remove_file(file);
        }
        for directory in self.directories.iter().rev() {
            let _ = fs::remove_dir(directory);
        }
    }
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    #[test]
    fn files_that_are_there_are_named_and_kept() {
        let parent = TempDir::new().unwrap();
        fs::write(parent.path().join("b"), "mine").unwrap();
        let files = [("a/c", "new".to_owned()), ("b", "new".to_owned())];
        let error = write(parent.path(), &files).unwrap_err();
        assert!(error.to_string().ends_with("already has b: nothing was written"), "{error}");
        assert_eq!(fs::read_to_string(parent.path().join("b")).unwrap(), "mine");
        assert!(!parent.path().join("a").exists());
    }

    #[test]
    fn what_cannot_be_finished_leaves_nothing() {
        let parent = TempDir::new().unwrap();
        let directory = parent.path().join("new/crate");
        // The second needs a directory where the first is a file.
        let files = [("a", "text".to_owned()), ("a/b", "text".to_owned())];
        assert!(matches!(write(&directory, &files), Err(WriteError::Write { .. })));
        assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 0);
    }

    #[test]
    fn missing_directories_are_made() {
        let parent = TempDir::new().unwrap();
        let directory = parent.path().join("new");
        write(&directory, &[("src/lib.rs", "//! It.\n".to_owned())]).unwrap();
        assert_eq!(fs::read_to_string(directory.join("src/lib.rs")).unwrap(), "//! It.\n");
    }
}
