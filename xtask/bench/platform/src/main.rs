//! The app that `cargo xtask bench platform` runs: functions that return their small input. The worker types of
//! `flash.toml` do the same in the official Python worker.
use flash_sdk::{Result, remote};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What is sent and comes back.
#[derive(Serialize, Deserialize, JsonSchema)]
pub struct Small {
    text: String,
}

/// Returns its input, on a worker that is there.
#[remote(worker = "echo_worker", cpu = Cpu3g_2_8, workers = 1..=1, max_concurrency = 64)]
pub async fn echo(input: Small) -> Result<Small> {
    Ok(input)
}

/// Returns its input, on a worker that only work of normal priority starts.
#[remote(worker = "queued_worker", cpu = Cpu3g_2_8, workers = 0..=1, max_concurrency = 64)]
pub async fn echo_queued(input: Small) -> Result<Small> {
    Ok(input)
}

#[flash_sdk::main]
async fn main() -> Result<()> {
    Ok(())
}
