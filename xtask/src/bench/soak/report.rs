//! What was seen, and whether anything grew or was lost.
use std::fmt;

use serde::Serialize;

use super::{super::load::percentile, traffic::Taken};
use crate::failure::Failure;

/// Memory may vary by this much between the beginning and the end.
const MEMORY_ROOM: f64 = 1.1;

/// So may the slowest answers, on a machine that also compiles the app.
const LATENCY_ROOM: f64 = 1.5;

/// Of connections that were just closed.
const FILES_ROOM: usize = 4;

/// A part of the time.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Window {
    pub answered: usize,
    pub failed: u32,
    /// Of one request that failed.
    pub failure: Option<String>,
    pub p50_ms: f64,
    pub p99_ms: f64,
    /// Of the platform, at the end.
    pub memory_mb: f64,
}

impl Window {
    /// # Errors
    /// If nothing was answered.
    pub(super) fn new(taken: Taken, memory_mb: f64) -> Result<Self, Failure> {
        let Taken { mut latencies, failed, failure } = taken;
        latencies.sort_unstable();
        Ok(Self {
            answered: latencies.len(),
            failed,
            failure,
            p50_ms: percentile(&latencies, 0.5)?,
            p99_ms: percentile(&latencies, 0.99)?,
            memory_mb,
        })
    }
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { answered, failed, p50_ms, p99_ms, memory_mb, .. } = self;
        write!(
            f,
            "{answered} answers, {failed} failed, p50 {p50_ms:.2} ms, p99 {p99_ms:.1} ms, {memory_mb:.1} MB"
        )
    }
}

/// All of it.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    windows: Vec<Window>,
    open_files_before: usize,
    open_files_after: usize,
    kills: u32,
    /// What must not be, in words; empty if all is well.
    pub faults: Vec<String>,
}

impl Report {
    /// `last` is what ended after the last window; `files` are open before and after.
    pub(super) fn new(
        windows: Vec<Window>,
        files: (usize, usize),
        kills: u32,
        connections: u32,
        last: Taken,
    ) -> Self {
        let (open_files_before, open_files_after) = files;
        let mut faults = Vec::new();
        let mut grew = |what: &str, of: fn(&Window) -> f64, room: f64| {
            let (first, last) = first_and_last(&windows, of);
            if last > first * room {
                faults.push(format!("{what} grew from {first:.1} to {last:.1}"));
            }
        };
        grew("the platform's memory in MB", |window| window.memory_mb, MEMORY_ROOM);
        grew("p99 in ms", |window| window.p99_ms, LATENCY_ROOM);
        if open_files_after > open_files_before + FILES_ROOM {
            faults.push(format!("open files grew from {open_files_before} to {open_files_after}"));
        }
        let failed = windows.iter().map(|window| window.failed).sum::<u32>() + last.failed;
        // A killed worker takes the requests with it that it had.
        if failed > kills * connections {
            let failure = windows.iter().find_map(|window| window.failure.clone()).or(last.failure);
            let such_as = failure.unwrap_or_default();
            faults.push(format!("{failed} requests failed with {kills} killed workers, such as: {such_as}"));
        }
        Self { windows, open_files_before, open_files_after, kills, faults }
    }

    pub(super) fn json(&self) -> Result<String, Failure> {
        serde_json::to_string_pretty(self).map_err(Failure::at("the report has no JSON form"))
    }

    pub(super) fn table(&self) -> String {
        let mut lines: Vec<String> = self.windows.iter().map(ToString::to_string).collect();
        lines.push(format!("open files: {} before, {} after", self.open_files_before, self.open_files_after));
        lines.push(format!("killed workers: {}", self.kills));
        lines.push(match self.faults.as_slice() {
            [] => "nothing grew, and nothing was lost".to_owned(),
            faults => faults.join("\n"),
        });
        lines.join("\n")
    }
}

/// Medians of the first third after the warm-up, which is a quarter, and of the last third.
fn first_and_last(windows: &[Window], of: fn(&Window) -> f64) -> (f64, f64) {
    let warm = &windows[windows.len() / 4..];
    let third = (warm.len() / 3).max(1);
    let median = |part: &[Window]| {
        let mut values: Vec<f64> = part.iter().map(of).collect();
        values.sort_by(f64::total_cmp);
        values.get(values.len() / 2).copied().unwrap_or_default()
    };
    (median(&warm[..third.min(warm.len())]), median(&warm[warm.len().saturating_sub(third)..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn windows(memory: impl Fn(u32) -> f64, failed: u32) -> Vec<Window> {
        let one = |number| Window {
            answered: 100,
            failed: if number == 5 { failed } else { 0 },
            failure: Some("503".to_owned()),
            p50_ms: 1.0,
            p99_ms: 5.0,
            memory_mb: memory(number),
        };
        (0..12).map(one).collect()
    }

    fn faults(windows: Vec<Window>, files: (usize, usize)) -> Vec<String> {
        Report::new(windows, files, 6, 8, Taken::default()).faults
    }

    #[test]
    fn what_grows_only_in_the_warm_up_is_well_and_what_grows_on_is_a_fault() {
        assert!(faults(windows(|number| f64::from(number.min(3)) + 20.0, 48), (30, 31)).is_empty());
        let grown = faults(windows(|number| 20.0 + f64::from(number), 0), (30, 30));
        assert_eq!(grown, ["the platform's memory in MB grew from 24.0 to 30.0"]);
    }

    #[test]
    fn lost_files_and_lost_requests_are_faults() {
        let faults = faults(windows(|_| 20.0, 49), (30, 90));
        assert_eq!(
            faults,
            ["open files grew from 30 to 90", "49 requests failed with 6 killed workers, such as: 503"]
        );
    }
}
