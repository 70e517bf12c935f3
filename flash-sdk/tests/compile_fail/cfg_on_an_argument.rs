//! Callers may be built with other settings than the worker.
use flash_sdk::{Result, remote};

#[remote(cpu = Cpu3c_1_2)]
async fn work(id: u32, #[cfg(unix)] mode: u32) -> Result<u32> {
    Ok(id)
}

fn main() {}
