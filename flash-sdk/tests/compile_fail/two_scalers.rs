//! A worker type follows one measure of load.
use flash_sdk::{Result, remote};

#[remote(cpu = Cpu3c_1_2, queue_delay = 1, request_count = 1)]
async fn work(id: u32) -> Result<u32> {
    Ok(id)
}

fn main() {}
