//! The control group of one worker.
use std::{
    fmt,
    fs::{File, OpenOptions},
    io,
    path::PathBuf,
    sync::Arc,
};

use super::{
    controller::{Controller, Version},
    files::{kill_all, make_directory, number, read, remove_all, write, write_existing},
    platform_group::PlatformGroup,
};

/// The kernel's accounting period. Longer ones make pauses that requests feel.
const PERIOD_MICROSECONDS: u64 = 100_000;
/// The provider's GB are GiB, like memory modules.
const GB: u64 = 1 << 30;
/// The kernel allocates memory in batches, so a process may be killed this far below its limit.
const CHARGED_AHEAD: u64 = 4 << 20;

/// The resources that a worker may use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Not limited where it is not known.
    pub vcpus: Option<u32>,
    pub memory_gb: Option<u32>,
    /// Processes and threads.
    pub processes: u32,
}

/// Processes of a worker were killed by the kernel for their memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MemoryKill {
    /// Over the limit of the instance.
    OverLimit { gb: u32 },
    /// Over the limit of the instance, or killed by hand: a container's engine does not always know.
    Perhaps { gb: u32 },
    /// The machine, or a group around us, had none left.
    Machine,
}

impl fmt::Display for MemoryKill {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OverLimit { gb } => write!(f, "over its memory of {gb} GB"),
            Self::Perhaps { gb } => write!(f, "over its memory of {gb} GB, or by hand"),
            Self::Machine => f.write_str("the machine is out of memory"),
        }
    }
}

/// See the module. Removed when dropped, where nothing runs in it.
#[derive(Debug)]
pub(crate) struct Group {
    places: Vec<HierarchyDirectory>,
    procs: Arc<Vec<File>>,
    memory_gb: Option<u32>,
}

/// Its directory in one hierarchy.
#[derive(Debug)]
struct HierarchyDirectory {
    directory: PathBuf,
    version: Version,
    controllers: Vec<Controller>,
}

impl Group {
    pub(super) fn create(homes: &[PlatformGroup], name: &str, limits: &Limits) -> io::Result<Self> {
        // Dropped, and so removed, on every way out with an error.
        let mut group = Self { places: Vec::new(), procs: Arc::default(), memory_gb: limits.memory_gb };
        let mut procs = Vec::new();
        for home in homes {
            let directory = home.directory.join(name);
            make_directory(&directory)?;
            let place = HierarchyDirectory {
                directory,
                version: home.version,
                controllers: home.controllers.clone(),
            };
            group.places.push(place);
            let Some(place) = group.places.last() else { continue };
            for controller in &place.controllers {
                place.limit(*controller, limits)?;
            }
            procs.push(OpenOptions::new().write(true).open(place.directory.join("cgroup.procs"))?);
        }
        group.procs = Arc::new(procs);
        Ok(group)
    }

    /// Files that a process writes `0` to so that it, and all that it starts, is in the group.
    pub(crate) fn procs(&self) -> Arc<Vec<File>> {
        self.procs.clone()
    }

    /// Kills every process in it.
    pub(crate) fn kill(&self) {
        for place in &self.places {
            kill_all(&place.directory);
        }
    }

    /// Whether processes of it were killed for their memory. Ask before it is removed.
    pub(crate) fn memory_kill(&self) -> Option<MemoryKill> {
        let place = self.places.iter().find(|place| place.controllers.contains(&Controller::Memory))?;
        place.memory_kill(self.memory_gb)
    }

    /// Kills its processes and removes it. `false` while something is still ending.
    pub(crate) fn remove(&self) -> bool {
        self.kill();
        let removed = self.places.iter().filter(|place| remove_all(&place.directory)).count();
        removed == self.places.len()
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // The lifeline removes what cannot be removed now.
        self.remove();
    }
}

impl HierarchyDirectory {
    fn limit(&self, controller: Controller, limits: &Limits) -> io::Result<()> {
        let directory = &self.directory;
        match (controller, self.version) {
            (Controller::Cpu, version) => limits.vcpus.map_or(Ok(()), |vcpus| self.limit_cpu(version, vcpus)),
            (Controller::Memory, version) => {
                limits.memory_gb.map_or(Ok(()), |gb| self.limit_memory(version, u64::from(gb) * GB))
            }
            (Controller::Pids, _) => write(directory, "pids.max", &limits.processes.to_string()),
        }
    }

    fn limit_cpu(&self, version: Version, vcpus: u32) -> io::Result<()> {
        let quota = u64::from(vcpus) * PERIOD_MICROSECONDS;
        match version {
            Version::Two => write(&self.directory, "cpu.max", &format!("{quota} {PERIOD_MICROSECONDS}")),
            Version::One => {
                write(&self.directory, "cpu.cfs_period_us", &PERIOD_MICROSECONDS.to_string())?;
                match write(&self.directory, "cpu.cfs_quota_us", &quota.to_string()) {
                    // If a group above has a lower limit, it applies here too.
                    Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(()),
                    written => written,
                }
            }
        }
    }

    /// Memory, and nothing beyond it in swap: a worker that swaps is slower than any that runs in production.
    fn limit_memory(&self, version: Version, bytes: u64) -> io::Result<()> {
        let bytes = bytes.to_string();
        match version {
            Version::Two => {
                write(&self.directory, "memory.max", &bytes)?;
                write_existing(&self.directory, "memory.swap.max", "0")
            }
            Version::One => {
                write(&self.directory, "memory.limit_in_bytes", &bytes)?;
                // The sum of memory and swap. Where swap is not counted, it is avoided.
                if self.directory.join("memory.memsw.limit_in_bytes").is_file() {
                    write(&self.directory, "memory.memsw.limit_in_bytes", &bytes)
                } else {
                    write_existing(&self.directory, "memory.swappiness", "0")
                }
            }
        }
    }

    fn memory_kill(&self, gb: Option<u32>) -> Option<MemoryKill> {
        let (kills, hits) = match self.version {
            Version::Two => {
                let events = read(&self.directory, "memory.events");
                (number(&events, "oom_kill"), number(&events, "oom"))
            }
            Version::One => {
                let count = |file| number(&read(&self.directory, file), "").unwrap_or(0);
                // Both limits are equal, and either may be hit first. Recent kernels do not count hits; a peak at the
                // limit means the same.
                let counted = count("memory.failcnt") + count("memory.memsw.failcnt");
                let limit = count("memory.limit_in_bytes").saturating_sub(CHARGED_AHEAD);
                let hits = counted + u64::from(count("memory.max_usage_in_bytes") >= limit);
                // Kernels before 4.13 do not count kills.
                let kills = number(&read(&self.directory, "memory.oom_control"), "oom_kill");
                (kills.or(Some(counted)), Some(hits))
            }
        };
        // A kill is counted where the process was; a hit, where the limit is.
        match (kills.unwrap_or(0), hits.unwrap_or(0), gb) {
            (0, _, _) => None,
            (_, 1.., Some(gb)) => Some(MemoryKill::OverLimit { gb }),
            _ => Some(MemoryKill::Machine),
        }
    }
}
