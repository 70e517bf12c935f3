//! Every setting has a value.
use flash_sdk::{Result, remote};

#[remote(cpu = Cpu3c_1_2, workers)]
async fn work(id: u32) -> Result<u32> {
    Ok(id)
}

fn main() {}
