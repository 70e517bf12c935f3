//! Short jobs: `runsync`, `run` with `status-sync`, and `run` alone.
use std::time::Duration;

use serde::Serialize;

use super::{
    super::{
        compare::counted,
        load::{self, Measured, Turn},
    },
    app::Platform,
    machine::{PerJob, Used},
};
use crate::{failure::Failure, output};

/// Connections of the throughput rows.
pub(super) const CONNECTIONS: [usize; 3] = [1, 64, 512];

/// One kind of load at one number of connections.
#[derive(Debug, Serialize)]
pub(super) struct Row {
    pub what: &'static str,
    pub connections: usize,
    #[serde(flatten)]
    pub measured: Measured,
    /// Includes the warm-up, and with it the machine's other load.
    pub cpu: PerJob,
}

/// What a client repeats.
#[derive(Debug, Clone, Copy)]
pub(super) enum Load {
    RunSync,
    RunAndAwait,
    /// No worker takes these jobs.
    Enqueue,
}

/// Measures one kind of load at each number of connections.
pub(super) async fn measure(
    platform: &Platform,
    what: &'static str,
    load: Load,
    connections: &[usize],
    time: Duration,
) -> Result<Vec<Row>, Failure> {
    let (target, turn) = match load {
        Load::RunSync => (platform.jobs(what, "echo_worker", "runsync"), Turn::Request),
        Load::RunAndAwait => (platform.jobs(what, "echo_worker", "run"), Turn::RunAndAwait),
        Load::Enqueue => (platform.low_priority_jobs(what, "queued_worker"), Turn::Request),
    };
    let mut rows = Vec::new();
    for &connections in connections {
        let before = Used::look(platform.process);
        let latencies = load::turns(&target, turn, connections, time).await?;
        let after = Used::look(platform.process);
        let measured = Measured::of(&latencies, time)?;
        // The warm-up ran at the same speed; its turns are not counted.
        let all = measured.requests_per_second * (time + load::WARM_UP).as_secs_f64();
        let row = Row { what, connections, measured, cpu: after.per_turn(before, all) };
        output::say("Measured", &row.text());
        rows.push(row);
    }
    if matches!(load, Load::Enqueue) {
        platform.clear("queued_worker").await?;
    }
    Ok(rows)
}

impl Row {
    fn text(&self) -> String {
        let Measured { requests_per_second, p50_ms, p99_ms } = self.measured;
        format!(
            "{}, {}: {requests_per_second:.0} jobs/s, p50 {p50_ms:.3} ms, p99 {p99_ms:.3} ms",
            self.what,
            counted(self.connections)
        )
    }
}
