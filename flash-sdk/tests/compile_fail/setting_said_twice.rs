//! One value per setting.
use flash_sdk::{Result, remote};

#[remote(cpu = Cpu3c_1_2, workers = 1, workers = 2)]
async fn work(id: u32) -> Result<u32> {
    Ok(id)
}

fn main() {}
