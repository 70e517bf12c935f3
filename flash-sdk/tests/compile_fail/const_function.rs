//! A call across processes is not constant.
use flash_sdk::{Result, remote};

#[remote(cpu = Cpu3c_1_2)]
const fn work(id: u32) -> Result<u32> {
    Ok(id)
}

fn main() {}
