//! Control groups: the kernel's limits on CPU time, memory and processes, per worker.
//!
//! Every worker gets its own group, `flash-PID/WORKER`, below the group of `flash` itself or, on cgroup v2, below the
//! nearest group that allows it. `layout` finds the position of this process, without I/O. `tree` detects what the
//! machine allows and creates the platform's groups. `group` is the group of one worker: limits, entering, killing,
//! removal. `leftovers` removes what a killed `flash` left behind.
//!
//! It knows numbers and directories, not worker types. It never writes to groups of others, with one exception: it
//! delegates controllers (`cgroup.subtree_control`) if that only affects processes of `flash`, or at the root.
mod files;
mod group;
mod layout;
mod leftovers;
mod tree;

pub(super) use group::{Group, Limits, MemoryKill};
pub(super) use leftovers::{Leftovers, clean};
pub(super) use tree::Cgroups;

/// What limits a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Controller {
    Cpu,
    Memory,
    Pids,
}

impl Controller {
    const ALL: [Self; 3] = [Self::Cpu, Self::Memory, Self::Pids];

    /// The kernel's name.
    fn name(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Memory => "memory",
            Self::Pids => "pids",
        }
    }

    /// For people.
    fn label(self) -> &'static str {
        match self {
            Self::Cpu => "CPU",
            Self::Memory => "memory",
            Self::Pids => "process",
        }
    }

    /// Those named in a list of the kernel's.
    fn named_in(list: &str, separator: impl Fn(char) -> bool) -> Vec<Self> {
        let named = |controller: &Self| list.split(&separator).any(|name| name == controller.name());
        Self::ALL.into_iter().filter(named).collect()
    }
}

/// The version of control groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    One,
    Two,
}
