//! Calls go through the platform, not an ABI.
use flash_sdk::{Result, remote};

#[remote(cpu = Cpu3c_1_2)]
extern "C" fn work(id: u32) -> Result<u32> {
    Ok(id)
}

fn main() {}
