//! A worker runs 1 to 10000 calls at a time.
use flash_sdk::{Result, remote};

#[remote(cpu = Cpu3c_1_2, max_concurrency = 0)]
async fn work(id: u32) -> Result<u32> {
    Ok(id)
}

fn main() {}
