//! The official Python worker compared with ours: the same jobs from the same platform, in one run.
use std::time::{Duration, Instant};

use serde::Serialize;

use super::{
    super::load::{self, Turn},
    app::Platform,
};
use crate::{failure::Failure, output};

/// Our worker, and the official one with one job and with many jobs at once.
const WORKERS: [&str; 3] = ["queued_worker", "python_one", "python_many"];
/// More than any of them finishes in a second.
const PER_SECOND: u64 = 15_000;
const FILLERS: usize = 64;
/// For the loads in which each client waits for its job.
const CLIENTS: [usize; 3] = [1, 64, 512];

/// Finished jobs per second.
#[derive(Debug, Serialize)]
pub(super) struct Row {
    pub what: String,
    pub ours: f64,
    /// With its default: one job at a time.
    pub official_one: f64,
    /// With a `concurrency_modifier` of 200.
    pub official_many: f64,
}

impl Row {
    /// With its better setting.
    pub(super) fn official(&self) -> f64 {
        self.official_one.max(self.official_many)
    }

    pub(super) fn ratio(&self) -> f64 {
        self.ours / self.official()
    }
}

/// Measures a full queue when the worker starts, then clients that wait.
pub(super) async fn measure(platform: &Platform, time: Duration) -> Result<Vec<Row>, Failure> {
    let mut found = Vec::new();
    for worker in WORKERS {
        found.push(emptied(platform, worker, time).await?);
    }
    let mut rows = vec![row("a full queue".to_owned(), &found)];
    for clients in CLIENTS {
        let mut found = Vec::new();
        for worker in WORKERS {
            found.push(waited_for(platform, worker, clients, time).await?);
        }
        rows.push(row(format!("runsync, {}", super::super::compare::counted(clients)), &found));
    }
    Ok(rows)
}

fn row(what: String, found: &[f64]) -> Row {
    let rate = |index: usize| found.get(index).copied().unwrap_or(f64::NAN);
    let row = Row { what, ours: rate(0), official_one: rate(1), official_many: rate(2) };
    output::say(
        "Measured",
        &format!(
            "{}: {:.0} jobs/s, official worker {:.1} and {:.1}",
            row.what, row.ours, row.official_one, row.official_many
        ),
    );
    row
}

/// Jobs per second from the first finished job on, with more waiting than can be done in the time.
async fn emptied(platform: &Platform, worker: &'static str, time: Duration) -> Result<f64, Failure> {
    let jobs = match worker {
        "python_one" => 1_000,
        _ => PER_SECOND * time.as_secs(),
    };
    load::send(&platform.low_priority_jobs("a full queue", worker), FILLERS, jobs, 1).await?;
    // Low-priority jobs start no worker; this one does.
    load::once(&platform.jobs("the job that starts a worker", worker, "run")).await?;
    let before = platform.until(worker, "at work", |jobs| jobs.completed > 0).await?;
    let began = Instant::now();
    let after = loop {
        tokio::time::sleep(Duration::from_millis(20)).await;
        let jobs = platform.health(worker).await?;
        if began.elapsed() >= time || jobs.waiting + jobs.running == 0 {
            break jobs;
        }
    };
    let took = began.elapsed();
    platform.clear(worker).await?;
    Ok((after.completed - before.completed) as f64 / took.as_secs_f64())
}

/// Jobs per second of clients that send the next job when the last has ended.
async fn waited_for(
    platform: &Platform,
    worker: &'static str,
    clients: usize,
    time: Duration,
) -> Result<f64, Failure> {
    // The worker may be idle: do not measure its start.
    load::once(&platform.jobs("the job that starts a worker", worker, "runsync")).await?;
    let target = platform.jobs("runsync of a worker", worker, "runsync");
    // Counted by the platform: a slow worker may end jobs, but none that a client began within the time.
    let (before, began) = (platform.health(worker).await?, Instant::now());
    load::turns(&target, Turn::Request, clients, time).await?;
    let (after, took) = (platform.health(worker).await?, began.elapsed());
    platform.clear(worker).await?;
    Ok((after.completed - before.completed) as f64 / took.as_secs_f64())
}
