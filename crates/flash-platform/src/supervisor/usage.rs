//! What the processes of workers take of the machine, as the system counts it.
use std::{collections::HashMap, time::Duration};

/// What the processes of one group take.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct GroupUsage {
    /// Processor time since they started, with that of children that they have waited for.
    pub cpu: Duration,
    /// Resident memory in bytes. What they share counts in each of them.
    pub memory_bytes: u64,
}

/// By process group, of all processes of this machine that may be read; empty where the system does not say. Blocks for
/// some milliseconds.
#[cfg(target_os = "linux")]
pub(crate) fn usage_by_group() -> HashMap<i32, GroupUsage> {
    linux::usage_by_group()
}

/// As on Linux, where nothing can be known.
#[cfg(not(target_os = "linux"))]
pub(crate) fn usage_by_group() -> HashMap<i32, GroupUsage> {
    HashMap::new()
}

#[cfg(target_os = "linux")]
mod linux {
    use std::{collections::HashMap, time::Duration};

    use procfs::{page_size, process::all_processes, ticks_per_second};

    use super::GroupUsage;

    pub(super) fn usage_by_group() -> HashMap<i32, GroupUsage> {
        let mut groups: HashMap<i32, GroupUsage> = HashMap::new();
        // A process that ends meanwhile is left out.
        for stat in all_processes().into_iter().flatten().flatten().filter_map(|process| process.stat().ok())
        {
            let children = u64::try_from(stat.cutime.max(0) + stat.cstime.max(0)).unwrap_or_default();
            let ticks = (stat.utime + stat.stime).saturating_add(children);
            let own = groups.entry(stat.pgrp).or_default();
            own.cpu += Duration::from_secs_f64(ticks as f64 / ticks_per_second() as f64);
            own.memory_bytes = own.memory_bytes.saturating_add(stat.rss.saturating_mul(page_size()));
        }
        groups
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use procfs::process::Process;

    use super::*;

    #[test]
    fn memory_and_time_of_this_process_are_those_of_its_group() {
        let group = Process::myself().unwrap().stat().unwrap().pgrp;
        let before = usage_by_group()[&group];
        let memory = vec![1_u8; 64 << 20];
        // Some time of the processor, whatever else runs here.
        let ticks = || usage_by_group()[&group];
        let after = std::iter::repeat_with(ticks).find(|now| now.cpu > before.cpu).unwrap();
        assert!(after.memory_bytes >= before.memory_bytes + (48 << 20), "{before:?} {after:?}");
        drop(memory);
        assert!(!usage_by_group().contains_key(&i32::MAX));
    }
}
