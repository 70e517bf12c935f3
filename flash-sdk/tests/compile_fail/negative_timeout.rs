//! Timeouts are positive.
use flash_sdk::{Result, remote};

#[remote(cpu = Cpu3c_1_2, execution_timeout = -5)]
async fn work(id: u32) -> Result<u32> {
    Ok(id)
}

fn main() {}
