//! Watches the paths of a scope with the system's notifications.
//!
//! A watch belongs to an existing directory, not to its name: a directory that is removed and created again is no
//! longer watched. So everything is watched again after each change, before the sources are read.
use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::{sync::mpsc, time::Instant};

use super::Scope;

/// The quiet time after a change until it counts: editors write in several steps.
const QUIET: Duration = Duration::from_millis(60);
/// A change counts after this time even if others keep following it.
const AT_MOST: Duration = Duration::from_secs(2);
/// File times are coarser than the clock.
const COARSE: Duration = Duration::from_millis(50);
/// Cargo puts one of these into its build directories.
const MARKS_OF_BUILDS: [&str; 2] = ["CACHEDIR.TAG", ".cargo-lock"];

/// Reports changes until dropped.
pub(crate) struct SourceWatcher {
    scope: Arc<Scope>,
    // Stops watching when dropped.
    _watcher: RecommendedWatcher,
    changed: mpsc::Sender<()>,
    changes: mpsc::Receiver<()>,
}

impl SourceWatcher {
    /// # Errors
    /// When the system refuses, for example because too many files are being watched.
    pub(crate) async fn new(scope: Scope) -> notify::Result<Self> {
        // One slot: an unhandled change stands for all.
        let (changed, changes) = mpsc::channel(1);
        let scope = Arc::new(scope);
        let watcher = watch(scope.clone(), changed.clone()).await?;
        Ok(Self { scope, _watcher: watcher, changed, changes })
    }

    /// Watches this scope from now on. New files in it that were written after `since` count as changed, because
    /// they were not watched then.
    ///
    /// # Errors
    /// As for [`SourceWatcher::new`]; the previous scope is then still watched.
    pub(crate) async fn set(&mut self, scope: Scope, since: SystemTime) -> notify::Result<()> {
        if *self.scope == scope {
            return Ok(());
        }
        let scope = Arc::new(scope);
        self._watcher = watch(scope.clone(), self.changed.clone()).await?;
        let before = std::mem::replace(&mut self.scope, scope);
        let new = self.scope.files().difference(before.files());
        let is_later = |file: &PathBuf| {
            let time = std::fs::metadata(file).and_then(|metadata| metadata.modified());
            time.is_ok_and(|time| time + COARSE >= since)
        };
        if new.into_iter().any(is_later) {
            // Full: a look is already due.
            let _ = self.changed.try_send(());
        }
        Ok(())
    }

    /// Waits for a change and for the quiet after it. What the change brought is watched when this returns.
    ///
    /// # Errors
    /// As for [`SourceWatcher::new`], after a change; the previous scope is then still watched.
    pub(crate) async fn changed(&mut self) -> notify::Result<()> {
        if self.changes.recv().await.is_none() {
            std::future::pending::<()>().await;
        }
        let last = Instant::now() + AT_MOST;
        loop {
            let until = last.min(Instant::now() + QUIET);
            if Instant::now() >= last || tokio::time::timeout_at(until, self.changes.recv()).await.is_err() {
                break;
            }
        }
        self._watcher = watch(self.scope.clone(), self.changed.clone()).await?;
        Ok(())
    }
}

/// Watches a scope as it is on disk now.
async fn watch(scope: Arc<Scope>, changed: mpsc::Sender<()>) -> notify::Result<RecommendedWatcher> {
    let started = tokio::task::spawn_blocking(move || {
        let concerned = scope.clone();
        let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            if is_change(&event, &concerned) {
                // Full: a look is already due.
                let _ = changed.try_send(());
            }
        })?;
        watch_all(&mut watcher, &scope)?;
        Ok(watcher)
    });
    started.await.unwrap_or_else(|error| Err(notify::Error::io(error.into())))
}

fn is_change(event: &notify::Result<notify::Event>, scope: &Scope) -> bool {
    match event {
        Ok(event) => {
            !matches!(event.kind, EventKind::Access(_))
                && (event.paths.is_empty() || event.paths.iter().any(|path| scope.concerns(path)))
        }
        // Events were lost: look, to be safe.
        Err(_) => true,
    }
}

fn watch_all(watcher: &mut RecommendedWatcher, scope: &Scope) -> notify::Result<()> {
    let mut watched = BTreeSet::new();
    let mut paths = watcher.paths_mut();
    let mut outcome = Ok(());
    let parents = scope.parents().into_iter().filter_map(nearest_existing);
    let mut waiting: Vec<PathBuf> = parents.map(Path::to_owned).collect();
    waiting.extend(scope.roots().iter().filter(|root| root.is_dir()).cloned());
    while let Some(directory) = waiting.pop() {
        if watched.contains(&directory) {
            continue;
        }
        // Before it is read: a directory created in between is either read or reported.
        match paths.add(&directory, RecursiveMode::NonRecursive) {
            Ok(()) => {}
            Err(error) if is_gone(&error) => continue,
            Err(error) => {
                outcome = Err(error);
                break;
            }
        }
        if scope.roots().contains(&directory) || scope.is_in_a_root(&directory) {
            waiting.extend(directories_in(&directory).filter(|below| scope.is_in_a_root(below)));
        }
        watched.insert(directory);
    }
    outcome.and(paths.commit())
}

/// It was removed since it was seen, or cannot be read.
fn is_gone(error: &notify::Error) -> bool {
    match &error.kind {
        notify::ErrorKind::PathNotFound => true,
        notify::ErrorKind::Io(error) => {
            matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::PermissionDenied)
        }
        _ => false,
    }
}

fn nearest_existing(path: &Path) -> Option<&Path> {
    path.ancestors().find(|above| above.is_dir())
}

/// Without links and cargo's build directories, which have more directories than can be watched.
fn directories_in(directory: &Path) -> impl Iterator<Item = PathBuf> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    entries
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.path())
        .filter(|path| !MARKS_OF_BUILDS.iter().any(|mark| path.join(mark).exists()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A directory to watch, with links resolved.
    fn place() -> (tempfile::TempDir, PathBuf) {
        let directory = tempfile::TempDir::new().unwrap();
        let path = directory.path().canonicalize().unwrap();
        (directory, path)
    }

    fn write(path: &Path, text: &str) {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    async fn seen(watcher: &mut SourceWatcher, what: &str) {
        let change = tokio::time::timeout(Duration::from_secs(30), watcher.changed());
        change.await.unwrap_or_else(|_| panic!("{what} was not seen")).unwrap();
    }

    /// Whether all events were reported: then nothing is waiting.
    fn is_quiet(watcher: &mut SourceWatcher) -> bool {
        watcher.changes.try_recv().is_err()
    }

    #[tokio::test]
    async fn a_directory_that_is_removed_and_restored_is_still_watched() {
        let (_held, root) = place();
        let file = root.join("src/deep/main.rs");
        write(&file, "fn main() {}");
        let mut watcher = SourceWatcher::new(Scope::new([root.clone()], [])).await.unwrap();
        for round in 0..3 {
            std::fs::remove_dir_all(root.join("src")).unwrap();
            seen(&mut watcher, "the removal").await;
            write(&file, "fn main() {}");
            seen(&mut watcher, "the return").await;
            while !is_quiet(&mut watcher) {}
            std::fs::write(&file, format!("fn main() {{ {round} }}")).unwrap();
            seen(&mut watcher, "an edit afterwards").await;
        }
        // As a whole, including the root.
        std::fs::remove_dir_all(&root).unwrap();
        seen(&mut watcher, "the removal of the root").await;
        write(&file, "fn main() {}");
        seen(&mut watcher, "the return of the root").await;
        std::fs::write(&file, "fn main() { 4 }").unwrap();
        seen(&mut watcher, "an edit afterwards").await;
    }

    #[tokio::test]
    async fn directories_made_later_are_watched() {
        let (_held, root) = place();
        write(&root.join("src/main.rs"), "");
        let mut watcher =
            SourceWatcher::new(Scope::new([root.clone()], [root.join("target")])).await.unwrap();
        write(&root.join("src/target/of/mod.rs"), "");
        seen(&mut watcher, "the new directory").await;
        while !is_quiet(&mut watcher) {}
        write(&root.join("src/target/of/mod.rs"), "mod a;");
        seen(&mut watcher, "an edit in it").await;
        std::fs::rename(root.join("src/target"), root.join("src/goal")).unwrap();
        seen(&mut watcher, "the new name").await;
        while !is_quiet(&mut watcher) {}
        write(&root.join("src/goal/of/mod.rs"), "mod b;");
        seen(&mut watcher, "an edit under the new name").await;
    }

    #[tokio::test]
    async fn a_file_outside_of_the_roots_is_watched_even_before_it_is_there() {
        let (_held, root) = place();
        let (app, prompt, read) = (root.join("app"), root.join("prompts/a/first.txt"), root.join("read.txt"));
        write(&app.join("src/main.rs"), "");
        let files = [prompt.clone(), read.clone()];
        let mut watcher =
            SourceWatcher::new(Scope::new([app.clone()], []).with_files([prompt.clone()])).await.unwrap();
        write(&prompt, "Hello");
        seen(&mut watcher, "the new file").await;
        while !is_quiet(&mut watcher) {}
        write(&prompt, "Good evening");
        seen(&mut watcher, "an edit of it").await;

        // The files read by a build are known afterwards; changes made in the meantime count.
        let since = SystemTime::now();
        write(&read, "later than the build's begin");
        while !is_quiet(&mut watcher) {}
        watcher.set(Scope::new([app], []).with_files(files), since).await.unwrap();
        seen(&mut watcher, "the file that was not watched when it was written").await;
    }

    #[tokio::test]
    async fn what_cargo_builds_in_is_not_watched() {
        let (_held, root) = place();
        write(&root.join("src/main.rs"), "");
        write(&root.join("built/CACHEDIR.TAG"), "");
        write(&root.join("built/debug/app"), "");
        assert_eq!(directories_in(&root).collect::<Vec<_>>(), [root.join("src")]);
    }
}
