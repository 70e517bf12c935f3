//! A path parameter is always there.
use flash_sdk::{Result, remote};

#[remote(cpu = Cpu3c_1_2, method = POST, path = "/items/{id}")]
async fn work(id: Option<u32>) -> Result<Option<u32>> {
    Ok(id)
}

fn main() {}
