//! Programs that worker types start beside the app, such as `ffmpeg`: `needs` in `flash.toml`.
//!
//! A worker that is a process finds them on this machine, as looked up here. What an image has is for `flash-image` to
//! tell.
use std::{
    ffi::{OsStr, OsString},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use toml::Spanned;

use super::command_worker::{Mistake, mistake};

/// A worker type whose programs are not all on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LackingWorker {
    pub worker: String,
    /// Those that were not found.
    pub programs: Vec<String>,
}

/// Each name is one of a program, or a path to one.
///
/// # Errors
/// The first that is neither.
pub(super) fn checked(said: Vec<Spanned<String>>) -> Result<Vec<String>, Mistake> {
    let is_program =
        |name: &str| !name.ends_with('/') && !name.contains(|c: char| c.is_whitespace() || c == '\0');
    match said.iter().find(|said| said.get_ref().is_empty() || !is_program(said.get_ref())) {
        Some(wrong) => mistake(
            wrong.span(),
            format!("`{}` is not a program; expected a name such as `ffmpeg`, or a path", wrong.get_ref()),
        ),
        None => Ok(said.into_iter().map(Spanned::into_inner).collect()),
    }
}

/// Those of these worker types that lack a program on this machine. Paths are relative to this directory, as for their
/// processes; `path` is their `PATH`.
pub(crate) fn lacking<'a>(
    needs: impl Iterator<Item = (&'a str, &'a [String])>,
    directory: &Path,
    path: Option<&OsStr>,
) -> Vec<LackingWorker> {
    let lacking = needs.filter_map(|(worker, programs)| {
        let is_missing = |name: &&String| find(name, directory, path).is_none();
        let programs: Vec<String> = programs.iter().filter(is_missing).cloned().collect();
        (!programs.is_empty()).then(|| LackingWorker { worker: worker.to_owned(), programs })
    });
    lacking.collect()
}

/// The `PATH` of workers: the project's own, else that of `flash`.
pub(crate) fn search_path<'a>(
    variables: impl IntoIterator<Item = (&'a String, &'a String)>,
) -> Option<OsString> {
    let own = variables.into_iter().find(|(name, _)| *name == "PATH");
    own.map(|(_, value)| value.into()).or_else(|| std::env::var_os("PATH"))
}

/// Where a program is, looked up as the system does.
pub(crate) fn find(name: &str, directory: &Path, path: Option<&OsStr>) -> Option<PathBuf> {
    if name.contains('/') {
        return Some(directory.join(name)).filter(|place| is_executable(place));
    }
    let places = std::env::split_paths(path.unwrap_or_default());
    places.map(|place| directory.join(place).join(name)).find(|place| is_executable(place))
}

fn is_executable(path: &Path) -> bool {
    path.metadata().is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
}

impl std::fmt::Display for LackingWorker {
    /// `` `thumbnails` needs `ffmpeg`, `sox`, not found on this machine ``
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "`{}` needs `{}`, not found on this machine", self.worker, self.programs.join("`, `"))
    }
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;

    use super::*;
    use crate::project::Config;

    #[test]
    fn a_worker_type_lacks_what_no_directory_of_the_path_has() {
        let directory = tempfile::TempDir::new().unwrap();
        let place = |name: &str| directory.path().join(name);
        std::fs::create_dir_all(place("tools/folder")).unwrap();
        for (name, mode) in [("tools/sox", 0o755), ("tools/notes", 0o644), ("own.sh", 0o700)] {
            std::fs::write(place(name), "").unwrap();
            std::fs::set_permissions(place(name), Permissions::from_mode(mode)).unwrap();
        }
        let text = "[build.workers.a]\nneeds = [\"sox\", \"notes\", \"folder\", \"./own.sh\", \"own.sh\"]\n\
                    [build.workers.b]\nneeds = [\"sox\"]\n[build.workers.c]\n\
                    [workers.script]\ncommand = [\"python3\"]\nneeds = [\"tools/none\"]\n";
        let config = Config::parse(text, Path::new("flash.toml")).unwrap();
        let path = std::env::join_paths([place("none"), place("tools")]).unwrap();
        let found = lacking(config.needs(), directory.path(), Some(&path));
        let said: Vec<String> = found.iter().map(ToString::to_string).collect();
        assert_eq!(
            said,
            [
                "`a` needs `notes`, `folder`, `own.sh`, not found on this machine",
                "`script` needs `tools/none`, not found on this machine"
            ]
        );
        assert_eq!(lacking(config.needs(), directory.path(), None).len(), 3);
    }
}
