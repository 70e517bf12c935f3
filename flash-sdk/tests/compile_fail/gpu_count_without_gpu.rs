//! A CPU worker has no GPUs to count.
use flash_sdk::{Result, remote};

#[remote(cpu = Cpu3c_1_2, gpu_count = 2)]
async fn work(id: u32) -> Result<u32> {
    Ok(id)
}

fn main() {}
