//! A path starts at the root.
use flash_sdk::{Result, remote};

#[remote(cpu = Cpu3c_1_2, method = POST, path = "classify")]
async fn work(id: u32) -> Result<u32> {
    Ok(id)
}

fn main() {}
