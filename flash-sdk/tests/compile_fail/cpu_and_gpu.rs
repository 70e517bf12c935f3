//! A worker type is one or the other.
use flash_sdk::{Result, remote};

#[remote(cpu = Cpu3c_1_2, gpu = Ada24)]
async fn work(id: u32) -> Result<u32> {
    Ok(id)
}

fn main() {}
