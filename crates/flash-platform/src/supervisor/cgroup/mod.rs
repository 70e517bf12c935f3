//! Control groups: the kernel's limits on CPU time, memory and processes, per worker.
//!
//! Every worker gets its own group, `flash-PID/WORKER`, below the group of `flash` itself or, on cgroup v2, below the
//! nearest group that allows it. `layout` finds the position of this process, without I/O. `tree` detects what the
//! machine allows and creates the platform's groups. `group` is the group of one worker: limits, entering, killing,
//! removal. `leftovers` removes what a killed `flash` left behind.
//!
//! It knows numbers and directories, not worker types. It never writes to groups of others, with one exception: it
//! delegates controllers (`cgroup.subtree_control`) if that only affects processes of `flash`, or at the root.
mod controller;
mod files;
mod group;
mod layout;
mod leftovers;
mod platform_group;
mod tree;

pub(super) use group::{Group, Limits, MemoryKill};
pub(super) use leftovers::{Leftovers, clean};
pub(super) use tree::Cgroups;
