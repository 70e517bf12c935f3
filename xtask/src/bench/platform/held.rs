//! Many waiting connections: the memory of each.
use std::time::Duration;

use serde::Serialize;

use super::{super::load, app::Platform};
use crate::{failure::Failure, output};

const CONNECTIONS: usize = 5_000;
const WORKER: &str = "queued_worker";
/// The interval of looks until the memory is stable.
const LOOK: Duration = Duration::from_millis(500);
const MAX_LOOKS: usize = 20;

/// The results.
#[derive(Debug, Serialize)]
pub(super) struct Held {
    pub connections: usize,
    pub before_mb: f64,
    pub held_mb: f64,
    pub kb_per_connection: f64,
}

/// Holds connections that stream a job which never starts.
pub(super) async fn measure(platform: &Platform) -> Result<Held, Failure> {
    let (run, _) = load::once(&platform.low_priority_jobs("a job that waits", WORKER)).await?;
    let id = load::job_id(&run).ok_or_else(|| Failure::new("an answer of run contains no job ID"))?;
    let before_mb = platform.resident_mb()?;
    let held = load::hold(&platform.stream(WORKER, id), CONNECTIONS).await?;
    let held_mb = at_rest(platform).await?;
    drop(held);
    platform.clear(WORKER).await?;
    let kb_per_connection = (held_mb - before_mb) * 1000.0 / CONNECTIONS as f64;
    output::say("Measured", &format!("{CONNECTIONS} held connections: {kb_per_connection:.1} kB each"));
    Ok(Held { connections: CONNECTIONS, before_mb, held_mb, kb_per_connection })
}

/// The memory once it no longer grows.
async fn at_rest(platform: &Platform) -> Result<f64, Failure> {
    let mut last = 0.0;
    for _ in 0..MAX_LOOKS {
        tokio::time::sleep(LOOK).await;
        let now = platform.resident_mb()?;
        if now - last < 0.5 {
            return Ok(now);
        }
        last = now;
    }
    Ok(last)
}
