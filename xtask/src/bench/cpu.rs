//! CPU time of servers, by process, from Linux's `/proc`. With load generator and servers on the same cores it is the
//! steadier figure beside throughput.
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use serde::Serialize;

/// Names a worker's type in its environment.
const WORKER: &str = "FLASH_WORKER=";

/// CPU seconds of some processes so far.
#[derive(Debug, Default)]
pub(super) struct CpuTimes(BTreeMap<u32, f64>);

/// CPU time that one process takes for a request.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct ProcessCpu {
    /// The worker type, or the program.
    pub name: String,
    /// User and system time, in microseconds.
    pub us_per_request: f64,
}

impl CpuTimes {
    /// Of these processes and all that they started.
    pub(super) fn look(servers: &[u32]) -> Self {
        let all: BTreeMap<u32, (u32, f64)> = fs::read_dir("/proc")
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|entry| stat_of(&entry.path()))
            .filter_map(|(process, stat)| Some((process, usage(&stat)?)))
            .collect();
        let own = descendants(servers, &all);
        Self(
            all.into_iter()
                .filter(|(process, _)| own.contains(process))
                .map(|(id, (_, used))| (id, used))
                .collect(),
        )
    }

    /// Since an earlier look, by process. Those that were not there then, or are not there now, do not count.
    pub(super) fn per_request(&self, before: &Self, requests: f64) -> Vec<ProcessCpu> {
        let used = self.0.iter().filter_map(|(process, now)| {
            let us_per_request = (now - before.0.get(process)?) * 1e6 / requests;
            Some(ProcessCpu { name: name_of(*process), us_per_request })
        });
        used.collect()
    }
}

/// The workers that a platform has started.
pub(super) fn workers(platform: u32) -> Vec<u32> {
    let parent_of =
        |entry: &Path| stat_of(entry).and_then(|(process, stat)| Some((process, usage(&stat)?.0)));
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let children =
        entries.filter_map(|entry| parent_of(&entry.path())).filter(|(_, parent)| *parent == platform);
    children.map(|(process, _)| process).filter(|process| worker_type(*process).is_some()).collect()
}

/// The worker type of a process, if it is a worker.
fn worker_type(process: u32) -> Option<Vec<u8>> {
    let environment = fs::read(format!("/proc/{process}/environ")).ok()?;
    environment
        .split(|byte| *byte == 0)
        .find_map(|one| one.strip_prefix(WORKER.as_bytes()))
        .map(<[u8]>::to_vec)
}

/// These processes and all below them, from each process's parent.
fn descendants(servers: &[u32], all: &BTreeMap<u32, (u32, f64)>) -> BTreeSet<u32> {
    let mut found: BTreeSet<u32> = servers.iter().copied().collect();
    loop {
        let children = all.iter().filter(|(id, (parent, _))| found.contains(parent) && !found.contains(id));
        let children: Vec<u32> = children.map(|(id, _)| *id).collect();
        if children.is_empty() {
            return found;
        }
        found.extend(children);
    }
}

fn name_of(process: u32) -> String {
    let program = || fs::read(format!("/proc/{process}/comm")).unwrap_or_default();
    let name = worker_type(process).unwrap_or_else(program);
    String::from_utf8_lossy(&name).trim().to_owned()
}

/// ID and statistics of the process with this directory.
pub(super) fn stat_of(directory: &Path) -> Option<(u32, String)> {
    let process = directory.file_name()?.to_str()?.parse().ok()?;
    Some((process, fs::read_to_string(directory.join("stat")).ok()?))
}

/// Parent and CPU seconds, from `/proc/PID/stat`. Its ticks are hundredths of a second everywhere.
pub(super) fn usage(stat: &str) -> Option<(u32, f64)> {
    const TICKS: f64 = 100.0;
    // The program's name is in parentheses and may contain anything, even parentheses.
    let (_, rest) = stat.rsplit_once(')')?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let ticks = |index: usize| fields.get(index)?.parse::<u64>().ok();
    let parent = fields.get(1)?.parse().ok()?;
    Some((parent, (ticks(11)? + ticks(12)?) as f64 / TICKS))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_time_is_found_behind_any_name() {
        let stat = "77 (a) b) S 12 77 77 0 -1 4194560 1 2 3 4 150 50 0 0 20 0 1 0 9 1 1";
        assert_eq!(usage(stat), Some((12, 2.0)));
        assert_eq!(usage("77 (cut"), None);
    }

    #[test]
    fn a_servers_processes_are_all_below_it() {
        let all = [(1, 0), (10, 1), (11, 10), (12, 11), (20, 1), (21, 20)];
        let all = all.into_iter().map(|(id, parent)| (id, (parent, 0.0))).collect();
        assert_eq!(descendants(&[10], &all), [10, 11, 12].into());
        assert_eq!(descendants(&[10, 20], &all), [10, 11, 12, 20, 21].into());
    }

    #[test]
    fn the_time_of_a_request_is_the_difference_by_their_number() {
        let own = std::process::id();
        let times = |seconds, other| CpuTimes([(own, seconds), (other, 1.0)].into());
        let used = times(2.0, u32::MAX).per_request(&times(1.0, u32::MAX - 1), 10_000.0);
        assert_eq!(used.iter().map(|one| one.us_per_request).collect::<Vec<_>>(), [100.0]);
        assert!(!used[0].name.is_empty());
        let looked = CpuTimes::look(&[own]);
        assert!(looked.0.contains_key(&own), "{looked:?}");
    }
}
