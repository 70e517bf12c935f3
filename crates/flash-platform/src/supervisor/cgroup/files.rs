//! Reads and writes the kernel's small text files.
use std::{
    fs, io,
    path::{Path, PathBuf},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

/// Writes a value; the error names file and value.
pub(super) fn write(directory: &Path, file: &str, value: &str) -> io::Result<()> {
    let path = directory.join(file);
    // One `write` call, because the kernel treats each as a separate command.
    fs::write(&path, value).map_err(|error| {
        io::Error::new(error.kind(), format!("could not write `{value}` to {}: {error}", path.display()))
    })
}

/// Reads a file; empty when it cannot be read.
pub(super) fn read(directory: &Path, file: &str) -> String {
    fs::read_to_string(directory.join(file)).unwrap_or_default()
}

/// A number in a file of lines `NAME NUMBER`, or of one number with an empty name.
pub(super) fn number(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| match line.split_once(' ') {
        Some((own, value)) if own == name => value.trim().parse().ok(),
        None if name.is_empty() => line.trim().parse().ok(),
        _ => None,
    })
}

/// The processes of a group. Those of other namespaces, which the kernel writes as 0, are left out.
pub(super) fn processes(directory: &Path) -> Vec<i32> {
    let procs = read(directory, "cgroup.procs");
    procs.lines().filter_map(|line| line.trim().parse().ok()).filter(|id| *id > 0).collect()
}

/// The groups right below.
pub(super) fn below(directory: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    let directories = entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    directories.map(|entry| entry.path()).collect()
}

/// Like `create_dir`, but accepts an existing one.
pub(super) fn make_directory(directory: &Path) -> io::Result<()> {
    match fs::create_dir(directory) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

/// Kills all processes in a group and below. `true` when none was there.
pub(super) fn kill_all(directory: &Path) -> bool {
    // All at once, where the kernel can: since 5.14, on v2.
    let at_once = directory.join("cgroup.kill").is_file() && write(directory, "cgroup.kill", "1").is_ok();
    let mut empty = true;
    for group in below(directory) {
        empty &= kill_all(&group);
    }
    let processes = processes(directory);
    if !at_once && !processes.is_empty() {
        // Prevents new processes while existing ones are killed, if the kernel counts them.
        let _ = write_existing(directory, "pids.max", "0");
        for id in &processes {
            // Gone already: as good.
            let _ = kill(Pid::from_raw(*id), Signal::SIGKILL);
        }
    }
    empty && processes.is_empty()
}

/// Like [`write()`], if the file exists.
pub(super) fn write_existing(directory: &Path, file: &str, value: &str) -> io::Result<()> {
    if directory.join(file).is_file() { write(directory, file, value) } else { Ok(()) }
}

/// Removes a group and those below. `false` while one has processes.
pub(super) fn remove_all(directory: &Path) -> bool {
    for group in below(directory) {
        // The kernel refuses the one above while it stays.
        remove_all(&group);
    }
    remove(directory)
}

/// Removes a group; a group that no longer exists counts as removed.
pub(super) fn remove(directory: &Path) -> bool {
    match fs::remove_dir(directory) {
        Ok(()) => true,
        Err(error) => error.kind() == io::ErrorKind::NotFound,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_found_by_name() {
        let events = "low 0\nhigh 0\nmax 12\noom 3\noom_kill 2\n";
        assert_eq!(number(events, "oom_kill"), Some(2));
        assert_eq!(number(events, "oom"), Some(3));
        assert_eq!(number(events, "oom_group_kill"), None);
        assert_eq!(number("41\n", ""), Some(41));
        assert_eq!(number("max\n", ""), None);
    }
}
