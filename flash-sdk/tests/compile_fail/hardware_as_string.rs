//! Hardware is named by bare names.
use flash_sdk::{Result, remote};

#[remote(cpu = "cpu3c-1-2")]
async fn work(id: u32) -> Result<u32> {
    Ok(id)
}

fn main() {}
