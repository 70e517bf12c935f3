//! A CPU worker type has no GPU memory.
use flash_sdk::{Result, remote};

#[remote(cpu = Cpu3c_1_2, vram_gib = 8)]
async fn work(id: u32) -> Result<u32> {
    Ok(id)
}

fn main() {}
