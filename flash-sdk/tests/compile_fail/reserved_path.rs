//! Workers and the platform answer some paths themselves.
use flash_sdk::{Result, remote};

#[remote(cpu = Cpu3c_1_2, method = POST, path = "/ping")]
async fn work(id: u32) -> Result<u32> {
    Ok(id)
}

#[remote(cpu = Cpu3c_1_2, method = POST, path = "/v2/work")]
async fn other(id: u32) -> Result<u32> {
    Ok(id)
}

fn main() {}
