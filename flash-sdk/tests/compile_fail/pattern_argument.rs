//! Arguments are passed by name.
use flash_sdk::{Result, remote};

#[remote(cpu = Cpu3c_1_2)]
async fn work((a, b): (u32, u32)) -> Result<u32> {
    Ok(a + b)
}

fn main() {}
