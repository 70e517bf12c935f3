//! A route is both.
use flash_sdk::{Result, remote};

#[remote(cpu = Cpu3c_1_2, method = POST)]
async fn work(id: u32) -> Result<u32> {
    Ok(id)
}

fn main() {}
