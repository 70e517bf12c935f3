//! Timeouts are at least a second, and not for ever.
use flash_sdk::{Result, remote};

#[remote(cpu = Cpu3c_1_2, idle_timeout = 0, execution_timeout = 604801, start_timeout = "20m")]
async fn work(id: u32) -> Result<u32> {
    Ok(id)
}

fn main() {}
