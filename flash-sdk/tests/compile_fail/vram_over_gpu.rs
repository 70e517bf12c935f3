//! A GPU that is named has at least the memory that a worker needs.
use flash_sdk::{Result, remote};

#[remote(gpu = Ada24, vram_gib = 30)]
async fn work(id: u32) -> Result<u32> {
    Ok(id)
}

fn main() {}
