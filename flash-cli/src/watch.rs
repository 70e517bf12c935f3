//! Watches a project's sources and says when they changed.
use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    time::Duration,
};

use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::mpsc;

/// After a change, the time without another one until it counts: editors write in several steps.
const QUIET: Duration = Duration::from_millis(60);

/// Tells of changes until dropped.
pub(crate) struct SourceWatcher {
    // Stops watching when dropped.
    _watcher: RecommendedWatcher,
    changes: mpsc::Receiver<()>,
}

impl SourceWatcher {
    /// Watches these directories and all below, without what cargo and git write.
    ///
    /// # Errors
    /// When the system refuses, for instance because too many files are watched already.
    pub(crate) fn new(directories: &[PathBuf]) -> notify::Result<Self> {
        let (mut watcher, changes) = watcher(is_source)?;
        for directory in directories {
            watcher.watch(directory, RecursiveMode::NonRecursive)?;
            for entry in std::fs::read_dir(directory).map_err(notify::Error::io)?.flatten() {
                let path = entry.path();
                // Building must not trigger a build, and `target` has more files than can be watched.
                if path.is_dir() && !is_build_output(&path) {
                    watcher.watch(&path, RecursiveMode::Recursive)?;
                }
            }
        }
        Ok(Self { _watcher: watcher, changes })
    }

    /// Watches these files, which may be missing; their directories must be there.
    ///
    /// # Errors
    /// When the system refuses.
    pub(crate) fn of_files(files: &[PathBuf]) -> notify::Result<Self> {
        let wanted = files.to_vec();
        let (mut watcher, changes) = watcher(move |path| wanted.iter().any(|file| file == path))?;
        let directories: BTreeSet<&Path> = files.iter().filter_map(|file| file.parent()).collect();
        for directory in directories {
            // A file that is replaced is another file; its directory is the same.
            watcher.watch(directory, RecursiveMode::NonRecursive)?;
        }
        Ok(Self { _watcher: watcher, changes })
    }

    /// Waits for a change and for the quiet after it.
    pub(crate) async fn changed(&mut self) {
        if self.changes.recv().await.is_none() {
            std::future::pending::<()>().await;
        }
        while tokio::time::timeout(QUIET, self.changes.recv()).await.is_ok() {}
    }
}

/// One that tells of changes of such files.
fn watcher(
    is_relevant: impl Fn(&Path) -> bool + Send + 'static,
) -> notify::Result<(RecommendedWatcher, mpsc::Receiver<()>)> {
    // One slot: a change that was not handled yet stands for all.
    let (changed, changes) = mpsc::channel(1);
    let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        let relevant = match event {
            Ok(event) => {
                !matches!(event.kind, EventKind::Access(_))
                    && (event.paths.is_empty() || event.paths.iter().any(|path| is_relevant(path)))
            }
            // Events were lost: better one look too many.
            Err(_) => true,
        };
        if relevant {
            // Full: a look is due anyway.
            let _ = changed.try_send(());
        }
    })?;
    Ok((watcher, changes))
}

fn is_build_output(directory: &Path) -> bool {
    let name = directory.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    ["target", "node_modules", "__pycache__"].contains(&name) || name.starts_with('.')
}

/// Editors' temporary files are not sources.
fn is_source(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let temporary = name.ends_with('~') || name.ends_with(".swp") || name.ends_with(".swx") || name == "4913";
    let hidden = name.starts_with('.') && name != ".env";
    !(temporary
        || hidden
        || path
            .components()
            .any(|part| ["target", ".flash", "__pycache__"].iter().any(|output| part.as_os_str() == *output)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn editors_leftovers_and_build_outputs_are_no_sources() {
        for path in [
            "/a/src/.main.rs.swp",
            "/a/src/main.rs~",
            "/a/target/debug/x",
            "/a/.flash/run/1",
            "/a/src/4913",
            "/a/__pycache__/worker.pyc.17",
        ] {
            assert!(!is_source(Path::new(path)), "{path}");
        }
        for path in ["/a/src/main.rs", "/a/.env", "/a/flash.toml", "/a/model/weights.bin"] {
            assert!(is_source(Path::new(path)), "{path}");
        }
    }

    #[tokio::test]
    async fn a_write_below_a_watched_directory_is_seen() {
        let directory = tempfile::TempDir::new().unwrap();
        let source = directory.path().join("src");
        std::fs::create_dir(&source).unwrap();
        let mut watcher = SourceWatcher::new(&[directory.path().to_owned()]).unwrap();
        std::fs::write(source.join("main.rs"), "fn main() {}").unwrap();
        tokio::time::timeout(Duration::from_secs(10), watcher.changed()).await.expect("the change is seen");
    }
}
