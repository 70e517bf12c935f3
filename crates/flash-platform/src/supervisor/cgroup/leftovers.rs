//! Removes what an ended platform left behind.
use std::{
    fs::File,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};

use super::{
    files::{below, kill_all, processes, remove, remove_all, write},
    platform_group::{OWN_GROUP, PREFIX},
};

/// How long killed processes may take to end.
const PATIENCE: Duration = Duration::from_secs(2);
const BETWEEN_LOOKS: Duration = Duration::from_millis(5);

/// The groups of one platform; the lifeline removes them.
#[derive(Debug, Default, Clone, Serialize, Deserialize)]
pub(crate) struct Leftovers {
    pub directories: Vec<PathBuf>,
    pub back: Option<MoveBack>,
}

/// Processes of `flash` that were moved out of a group so that it could delegate controllers.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct MoveBack {
    pub to: PathBuf,
    /// The controllers that were enabled for it.
    pub controllers: Vec<String>,
}

/// Kills what is left in a platform's groups and removes them. Waits for a limited time.
pub(crate) fn clean(left: &Leftovers) {
    let until = Instant::now() + PATIENCE;
    let mut groups: Vec<PathBuf> = left
        .directories
        .iter()
        .flat_map(|directory| below(directory))
        .filter(|group| !is_own(group))
        .collect();
    loop {
        groups.retain(|group| !(kill_all(group) && remove_all(group)));
        if groups.is_empty() || Instant::now() > until {
            break;
        }
        std::thread::sleep(BETWEEN_LOOKS);
    }
    if let Some(back) = &left.back {
        for directory in &left.directories {
            go_back(directory, back);
        }
    }
    for directory in &left.directories {
        // One with processes that the kernel cannot end stays, for the next start.
        remove_all(directory);
    }
}

fn is_own(group: &Path) -> bool {
    group.file_name().is_some_and(|name| name == OWN_GROUP)
}

/// Undoes the handing down, then the move; in that order, or the kernel refuses the move.
fn go_back(directory: &Path, back: &MoveBack) {
    for group in [directory, &back.to] {
        for controller in &back.controllers {
            // Refused where others rely on it by now; then the processes stay where they are.
            let _ = write(group, "cgroup.subtree_control", &format!("-{controller}"));
        }
    }
    move_all(&directory.join(OWN_GROUP), &back.to);
}

/// Moves all processes of a group to another, also those that appear meanwhile.
pub(super) fn move_all(from: &Path, to: &Path) {
    for _ in 0..8 {
        let processes = processes(from);
        if processes.is_empty() {
            return;
        }
        for id in processes {
            // It may have ended.
            let _ = write(to, "cgroup.procs", &id.to_string());
        }
    }
}

/// Removes empty groups of ended platforms. Kills nothing, because a name does not prove who owns a group.
pub(super) fn sweep(base: &Path) {
    for group in below(base) {
        if !group.file_name().and_then(|name| name.to_str()).is_some_and(is_platform) {
            continue;
        }
        let Ok(file) = File::open(&group) else { continue };
        // A platform that lives holds the lock.
        if let Ok(_lock) = Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            below(&group).iter().for_each(|worker| {
                remove_all(worker);
            });
            remove(&group);
        }
    }
}

/// `flash-12` or `flash-12-1`.
fn is_platform(name: &str) -> bool {
    let Some(rest) = name.strip_prefix(PREFIX) else { return false };
    let mut numbers = rest.split('-');
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    numbers.next().is_some_and(is_number) && numbers.next().is_none_or(is_number) && numbers.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_platforms_are_swept() {
        for name in ["flash-1", "flash-4711", "flash-12-1"] {
            assert!(is_platform(name), "{name}");
        }
        for name in ["flash-", "flash-attention", "flash-1-2-3", "flash-1-x", "flash", "my-flash-1"] {
            assert!(!is_platform(name), "{name}");
        }
    }

    #[test]
    fn groups_of_a_platform_that_lives_stay_and_those_of_a_dead_one_go() {
        let base = tempfile::TempDir::new().unwrap();
        for name in ["flash-1/worker", "flash-2/worker", "flash-more/worker"] {
            std::fs::create_dir_all(base.path().join(name)).unwrap();
        }
        let alive = File::open(base.path().join("flash-1")).unwrap();
        let _lock = Flock::lock(alive, FlockArg::LockExclusive).unwrap();
        sweep(base.path());
        let exists = |name: &str| base.path().join(name).exists();
        assert!(exists("flash-1/worker") && exists("flash-more/worker") && !exists("flash-2"));
    }
}
