//! The compiler itself looks the names up.
use flash_sdk::{Result, remote};

#[remote(gpu = [Ada24, Ada25], gpu_types = Rtx4091)]
async fn work(id: u32) -> Result<u32> {
    Ok(id)
}

fn main() {}
