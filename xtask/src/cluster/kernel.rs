//! Settings of the whole machine that the kubelet changes: kept before it starts, and put back after its end.
use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::failure::Failure;

/// Where the kernel has them.
const SETTINGS: [&str; 3] =
    ["/proc/sys/vm/overcommit_memory", "/proc/sys/kernel/panic", "/proc/sys/kernel/panic_on_oops"];
/// Where the kernel has the groups of cgroup version 1, by controller, or those of version 2.
const CGROUPS: &str = "/sys/fs/cgroup";
/// The group of all pods, which is ours: another kubelet may run here.
pub(super) const GROUP: &str = "flash-cluster";

/// All settings, as they are.
///
/// # Errors
/// When one cannot be read.
pub(super) fn settings() -> Result<Vec<(String, String)>, Failure> {
    let read = |path: &str| {
        let value = fs::read_to_string(path).map_err(Failure::at(path))?;
        Ok((path.to_owned(), value.trim().to_owned()))
    };
    SETTINGS.into_iter().map(read).collect()
}

/// Puts settings back.
///
/// # Errors
/// When one cannot be written.
pub(super) fn restore(settings: &[(String, String)]) -> Result<(), Failure> {
    for (path, value) in settings.iter().filter(|(path, _)| SETTINGS.contains(&path.as_str())) {
        fs::write(path, value).map_err(Failure::at(path))?;
    }
    Ok(())
}

/// Makes the groups in which the kubelet makes those of pods.
///
/// # Errors
/// When one cannot be made.
pub(super) fn make_groups() -> Result<(), Failure> {
    for group in groups() {
        fs::create_dir_all(&group).map_err(Failure::at(group.display()))?;
    }
    Ok(())
}

/// Removes them. Only those can be removed in which nothing runs.
///
/// # Errors
/// When something does.
pub(super) fn remove_groups() -> Result<(), Failure> {
    groups().iter().filter(|group| group.exists()).try_for_each(|group| remove_group(group))
}

fn remove_group(group: &Path) -> Result<(), Failure> {
    let below = fs::read_dir(group).into_iter().flatten().flatten();
    for inner in below.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
        remove_group(&inner.path())?;
    }
    fs::remove_dir(group).map_err(Failure::at(group.display()))
}

/// One for each controller in version 1, one for all in version 2.
fn groups() -> Vec<PathBuf> {
    let root = Path::new(CGROUPS);
    if root.join("cgroup.controllers").exists() {
        return vec![root.join(GROUP)];
    }
    let controllers = fs::read_dir(root).into_iter().flatten().flatten();
    // Some are links to others.
    let own = controllers.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    own.map(|controller| controller.path().join(GROUP)).collect()
}
