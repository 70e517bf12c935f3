//! The type of an argument is reported on the type.
use flash_sdk::{Result, remote};

#[derive(serde::Serialize, serde::Deserialize)]
pub struct Handle;

#[remote(cpu = Cpu3c_1_2)]
async fn work(id: u32, handle: Handle) -> Result<u32> {
    let _ = handle;
    Ok(id)
}

fn main() {}
