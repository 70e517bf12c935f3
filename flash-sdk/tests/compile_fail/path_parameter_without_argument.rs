//! A path parameter is an argument.
use flash_sdk::{Result, remote};

#[remote(cpu = Cpu3c_1_2, method = POST, path = "/items/{id}")]
async fn work(item_id: u32) -> Result<u32> {
    Ok(item_id)
}

fn main() {}
