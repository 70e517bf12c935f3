//! The compiler itself looks the name up.
use flash_sdk::{Result, remote};

#[remote(cpu = Cpu3c_1_2, data_centers = [EuRo2])]
async fn work(id: u32) -> Result<u32> {
    Ok(id)
}

fn main() {}
