//! Settings by the names that other systems have for them.
use flash_sdk::{Result, remote};

#[remote(cpu = Cpu3c_1_2, timeout = 30, min_workers = 1, memory = 8)]
async fn work(id: u32) -> Result<u32> {
    Ok(id)
}

fn main() {}
