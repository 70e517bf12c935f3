//! The type of a result is reported on the type.
use flash_sdk::{Result, remote};

#[derive(serde::Serialize, serde::Deserialize)]
pub struct Handle;

#[remote(cpu = Cpu3c_1_2)]
async fn work(id: u32) -> Result<Handle> {
    let _ = id;
    Ok(Handle)
}

fn main() {}
