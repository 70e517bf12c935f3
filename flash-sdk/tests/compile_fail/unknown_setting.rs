//! A setting that does not exist, with the nearest one that does.
use flash_sdk::{Result, remote};

#[remote(cpu = Cpu3c_1_2, idel_timeout = 3)]
async fn work(id: u32) -> Result<u32> {
    Ok(id)
}

#[remote(cpu = Cpu3c_1_2, cpus = 3)]
async fn other(id: u32) -> Result<u32> {
    Ok(id)
}

fn main() {}
