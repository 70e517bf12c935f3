//! A path parameter is a whole segment.
use flash_sdk::{Result, remote};

#[remote(cpu = Cpu3c_1_2, method = POST, path = "/items/{id")]
async fn work(id: u32) -> Result<u32> {
    Ok(id)
}

fn main() {}
