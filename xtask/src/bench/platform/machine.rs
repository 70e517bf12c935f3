//! The machine, and what processes use of it, from Linux's `/proc`.
use std::fs;

use serde::Serialize;

use super::super::cpu::{stat_of, usage};

/// The machine, and its other load.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Machine {
    /// Shared by load generator, platform and workers.
    pub cores: usize,
    pub cpu: String,
    pub memory_mb: u64,
    /// Runnable programs in the last minute before the start, on average.
    pub load_before: f64,
}

impl Machine {
    pub(super) fn look() -> Self {
        let read = |path| fs::read_to_string(path).unwrap_or_default();
        Self {
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            cpu: field(&read("/proc/cpuinfo"), "model name").unwrap_or("unknown").to_owned(),
            memory_mb: kilobytes(&read("/proc/meminfo"), "MemTotal").unwrap_or(0) / 1000,
            load_before: read("/proc/loadavg")
                .split(' ')
                .next()
                .and_then(|load| load.parse().ok())
                .unwrap_or(0.0),
        }
    }
}

/// Memory of a process that is in RAM, in megabytes.
pub(in super::super) fn resident_mb(process: u32) -> Option<f64> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    kilobytes(&status, "VmRSS").map(|kilobytes| kilobytes as f64 * 1024.0 / 1e6)
}

/// CPU time in seconds, so far.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Used {
    pub platform: f64,
    /// All children of the platform that are alive.
    pub workers: f64,
    pub load_generator: f64,
}

impl Used {
    pub(super) fn look(platform: u32) -> Self {
        let mut used = Self::default();
        let own = std::process::id();
        for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
            let Some((process, stat)) = stat_of(&entry.path()) else { continue };
            let Some((parent, seconds)) = usage(&stat) else { continue };
            if process == platform {
                used.platform += seconds;
            } else if parent == platform {
                used.workers += seconds;
            } else if process == own {
                used.load_generator += seconds;
            }
        }
        used
    }

    /// Since an earlier look, per turn, in microseconds.
    pub(super) fn per_turn(self, before: Self, turns: f64) -> PerJob {
        let each = |now: f64, before: f64| (now - before) * 1e6 / turns;
        PerJob {
            platform_us: each(self.platform, before.platform),
            worker_us: each(self.workers, before.workers),
            load_generator_us: each(self.load_generator, before.load_generator),
        }
    }
}

/// CPU time of one job.
#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct PerJob {
    pub platform_us: f64,
    pub worker_us: f64,
    pub load_generator_us: f64,
}

fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let line = text.lines().find(|line| line.starts_with(name))?;
    line.split_once(':').map(|(_, value)| value.trim())
}

fn kilobytes(text: &str, name: &str) -> Option<u64> {
    field(text, name)?.trim_end_matches("kB").trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read_by_its_name() {
        let status = "Name:\tflash\nVmHWM:\t   50000 kB\nVmRSS:\t   40960 kB\n";
        assert_eq!(kilobytes(status, "VmRSS"), Some(40_960));
        assert_eq!(kilobytes(status, "VmSwap"), None);
    }

    #[test]
    fn the_cpu_time_of_a_turn_is_the_difference_by_their_number() {
        let before = Used { platform: 1.0, workers: 0.5, load_generator: 0.0 };
        let after = Used { platform: 2.0, workers: 1.0, load_generator: 0.25 };
        let each = after.per_turn(before, 10_000.0);
        assert_eq!((each.platform_us, each.worker_us, each.load_generator_us), (100.0, 50.0, 25.0));
    }
}
