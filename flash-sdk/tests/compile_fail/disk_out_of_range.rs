//! A worker has 1 to 10000 GB of disk.
use flash_sdk::{Result, remote};

#[remote(cpu = Cpu3c_1_2, disk_gib = 0)]
async fn work(id: u32) -> Result<u32> {
    Ok(id)
}

fn main() {}
