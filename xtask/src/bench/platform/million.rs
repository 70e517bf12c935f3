//! A long queue: its memory, whether a job costs more at its end, and its restart after a kill.
use std::time::{Duration, Instant};

use serde::Serialize;

use super::{
    super::load::{self, percentile},
    app::{Platform, forget_jobs},
    machine::Used,
};
use crate::{failure::Failure, output};

const WORKER: &str = "queued_worker";
const CONNECTIONS: usize = 128;
/// The compared parts are a tenth each.
const PARTS: u64 = 10;
const STATUS_ASKED: usize = 200;

/// The results.
#[derive(Debug, Serialize)]
pub(super) struct Million {
    pub jobs: u64,
    pub idle_mb: f64,
    pub enqueued_per_second: f64,
    /// Of the first and of the last tenth.
    pub first_per_second: f64,
    pub last_per_second: f64,
    pub queued_mb: f64,
    pub status_p50_ms: f64,
    pub status_p99_ms: f64,
    /// From the start of the program to the first status, with no jobs in the store: includes cargo's check of the
    /// app and the start of workers.
    pub empty_restart_seconds: f64,
    /// The same with the jobs in the store, after a SIGKILL.
    pub restart_seconds: f64,
    /// The platform's CPU time for it: how long it would take on a core of its own.
    pub restart_cpu_seconds: f64,
    pub restarted_mb: f64,
}

impl Million {
    /// What the jobs add to a restart.
    pub(super) fn added_seconds(&self) -> f64 {
        self.restart_seconds - self.empty_restart_seconds
    }
}

/// Fills the queue of a platform with `--keep`, kills it and starts it again.
pub(super) async fn measure(jobs: u64) -> Result<Million, Failure> {
    forget_jobs()?;
    // Cargo has already checked the app: compare with the second start.
    Platform::start(&["--keep"]).await?.kill().await?;
    let platform = Platform::start(&["--keep"]).await?;
    let idle_mb = platform.resident_mb()?;
    let target = platform.low_priority_jobs("jobs that wait", WORKER);
    let (first, _) = load::once(&target).await?;
    let empty_restart = platform.ready_after + answered(&platform, &first).await?;

    let part = jobs / PARTS;
    let sent = load::send(&target, CONNECTIONS, jobs, part).await?;
    let queued_mb = platform.resident_mb()?;
    let waiting = platform.health(WORKER).await?.waiting;
    if waiting != jobs + 1 {
        return Err(Failure::new(format!("{waiting} jobs wait, not {}", jobs + 1)));
    }
    let rate = |count: u64, time: Duration| count as f64 / time.as_secs_f64();
    output::say(
        "Measured",
        &format!("{jobs} jobs queued in {:.1} s, {queued_mb:.0} MB", sent.took.as_secs_f64()),
    );
    let statuses = statuses(&platform, &sent.answers).await?;
    platform.kill().await?;
    output::say("Killed", "the platform, with all jobs waiting");
    let platform = Platform::start(&["--keep"]).await?;
    let restart = platform.ready_after + answered(&platform, &first).await?;
    let restart_cpu_seconds = Used::look(platform.process).platform;
    let back = platform.health(WORKER).await?.waiting;
    if back != waiting {
        return Err(Failure::new(format!("{back} of {waiting} jobs are back")));
    }
    let restarted_mb = platform.resident_mb()?;
    // Stopped before its store is removed.
    drop(platform);
    forget_jobs()?;
    Ok(Million {
        jobs,
        idle_mb,
        enqueued_per_second: rate(jobs, sent.took),
        first_per_second: rate(part, sent.first),
        last_per_second: rate(part, sent.last),
        queued_mb,
        status_p50_ms: percentile(&statuses, 0.50)?,
        status_p99_ms: percentile(&statuses, 0.99)?,
        empty_restart_seconds: empty_restart.as_secs_f64(),
        restart_seconds: restart.as_secs_f64(),
        restart_cpu_seconds,
        restarted_mb,
    })
}

/// The time until the status of the job in an answer of `run` is answered.
async fn answered(platform: &Platform, run: &[u8]) -> Result<Duration, Failure> {
    let id = load::job_id(run).ok_or_else(|| Failure::new("an answer of run contains no job ID"))?;
    let began = Instant::now();
    load::once(&platform.status(WORKER, id, r#""status":"IN_QUEUE""#)).await?;
    Ok(began.elapsed())
}

/// Latencies of statuses of jobs across the whole queue, sorted, in nanoseconds.
async fn statuses(platform: &Platform, runs: &[bytes::Bytes]) -> Result<Vec<u64>, Failure> {
    let step = (runs.len() / STATUS_ASKED).max(1);
    let mut latencies = Vec::new();
    for run in runs.iter().step_by(step) {
        let id = load::job_id(run).ok_or_else(|| Failure::new("an answer of run contains no job ID"))?;
        let (_, took) = load::once(&platform.status(WORKER, id, r#""status":"IN_QUEUE""#)).await?;
        latencies.push(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX));
    }
    latencies.sort_unstable();
    Ok(latencies)
}
