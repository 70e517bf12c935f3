//! Methods are written as HTTP writes them.
use flash_sdk::{Result, remote};

#[remote(cpu = Cpu3c_1_2, method = post, path = "/{id}")]
async fn work(id: u32) -> Result<u32> {
    Ok(id)
}

fn main() {}
