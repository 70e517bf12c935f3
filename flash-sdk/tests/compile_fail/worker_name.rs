//! Names of worker types go into URLs.
use flash_sdk::{Result, remote};

#[remote(worker = "my worker", cpu = Cpu3c_1_2)]
async fn work(id: u32) -> Result<u32> {
    Ok(id)
}

fn main() {}
