//! Nobody can keep a promise across processes.
use flash_sdk::{Result, remote};

#[remote(cpu = Cpu3c_1_2)]
unsafe fn work(id: u32) -> Result<u32> {
    Ok(id)
}

fn main() {}
