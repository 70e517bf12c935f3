//! Values travel between processes.
use flash_sdk::{Result, remote};

#[remote(cpu = Cpu3c_1_2)]
async fn work() -> Result<&'static str> {
    Ok("")
}

fn main() {}
