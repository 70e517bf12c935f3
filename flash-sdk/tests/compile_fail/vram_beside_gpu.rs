//! The amount of memory chooses the pools, so nothing else may.
use flash_sdk::{Result, remote};

#[remote(gpu = Ada24, vram_gib = 30)]
async fn work(id: u32) -> Result<u32> {
    Ok(id)
}

fn main() {}
