//! Methods are functions of an `impl`.
use flash_sdk::{Result, remote};

#[remote(cpu = Cpu3c_1_2)]
async fn work(&self) -> Result<u32> {
    Ok(1)
}

fn main() {}
