//! What a job costs by itself.
use flash_sdk::{Result, remote};

/// Does nothing, on a worker that is there.
#[remote(worker = "noop_worker", cpu = Cpu3g_2_8, workers = 1..=1, max_concurrency = 64)]
pub async fn noop() -> Result<()> {
    Ok(())
}

/// Says its process id, on a worker that is started for it.
#[remote(worker = "spawned_worker", cpu = Cpu3g_2_8, workers = 0..=1, idle_timeout = 1)]
pub async fn process_id() -> Result<u32> {
    Ok(std::process::id())
}
