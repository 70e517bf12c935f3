//! Whether a model has room in memory, before it is loaded: the kernel would end the process in the middle of it.
use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::error::LoadError;

/// Memory that is left, and of what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Room {
    bytes: u64,
    of: &'static str,
}

/// Checks the weights in a file against the memory that this process can still have. Where that is not known, they fit.
///
/// # Errors
///
/// If they are larger.
pub(crate) fn check(path: &Path) -> Result<(), LoadError> {
    let size = fs::metadata(path).map_err(|source| LoadError::Read { path: path.to_owned(), source })?.len();
    match room().filter(|room| size > room.bytes) {
        Some(Room { bytes, of }) => Err(LoadError::TooLarge { path: path.to_owned(), size, left: bytes, of }),
        None => Ok(()),
    }
}

/// The least of what the machine and the limits of this process leave. Only Linux says it.
fn room() -> Option<Room> {
    let machine = fs::read_to_string("/proc/meminfo").ok().and_then(|text| available(&text));
    let machine = machine.map(|bytes| Room { bytes, of: "this machine" });
    let groups = fs::read_to_string("/proc/self/cgroup").ok().and_then(|text| own_group(&text));
    let limits = groups.iter().flat_map(|group| group.ancestors()).filter_map(limit);
    let limits = limits.map(|bytes| Room { bytes, of: "this worker" });
    machine.into_iter().chain(limits).min_by_key(|room| room.bytes)
}

/// `MemAvailable` of `/proc/meminfo`.
fn available(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

/// The directory of this process's control group (version 2).
fn own_group(cgroup: &str) -> Option<PathBuf> {
    let path = cgroup.lines().find_map(|line| line.strip_prefix("0::"))?;
    Some(Path::new("/sys/fs/cgroup").join(path.trim_start_matches('/')))
}

/// What the limit of a control group leaves; `None` without a limit.
fn limit(group: &Path) -> Option<u64> {
    let read = |name: &str| fs::read_to_string(group.join(name)).ok();
    let limit = read("memory.max")?.trim().parse().ok()?;
    let used = read("memory.current")?.trim().parse().ok()?;
    left(limit, used, &read("memory.stat")?)
}

/// Files that the kernel has read ahead count as used, and make way.
fn left(limit: u64, used: u64, stat: &str) -> Option<u64> {
    let of = |name: &str| -> Option<u64> {
        stat.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok())
    };
    let files = of("inactive_file")?.saturating_add(of("active_file")?);
    Some(limit.saturating_sub(used.saturating_sub(files)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_says_is_read() {
        assert_eq!(available("MemTotal:  100 kB\nMemAvailable:     7 kB\n"), Some(7168));
        assert_eq!(available("MemTotal:  100 kB\n"), None);
        let group = Path::new("/sys/fs/cgroup/a/b");
        assert_eq!(own_group("1:name=x:/y\n0::/a/b\n").as_deref(), Some(group));
        let stat = "anon 10\ninactive_file 30\nactive_file 5\nfile 40\n";
        assert_eq!(left(100, 60, stat), Some(75), "what caches files makes way");
        assert_eq!(left(100, 500, stat), Some(0));
    }

    #[test]
    fn a_model_that_cannot_fit_is_refused_with_both_sizes_before_it_is_read() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("model.gguf");
        // Without blocks on the disk.
        fs::File::create(&path).unwrap().set_len(8 << 40).unwrap();
        let error = check(&path).unwrap_err().to_string();
        assert!(error.contains("model.gguf` has 8796.1 GB of weights"), "{error}");
        assert!(error.contains("GB of memory left: "), "{error}");
        fs::File::create(&path).unwrap().set_len(1000).unwrap();
        check(&path).unwrap();
    }
}
