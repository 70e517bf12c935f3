//! 1 to 8 GPUs per worker.
use flash_sdk::{Result, remote};

#[remote(gpu = Ada24, gpu_count = 9)]
async fn work(id: u32) -> Result<u32> {
    Ok(id)
}

fn main() {}
