//! The compiler itself looks the name up, and suggests a similar one.
use flash_sdk::{Result, remote};

#[remote(cpu = Cpu3c_1_3)]
async fn work(id: u32) -> Result<u32> {
    Ok(id)
}

fn main() {}
