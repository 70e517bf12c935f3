//! A worker is built for known types.
use flash_sdk::{Result, remote};

#[remote(cpu = Cpu3c_1_2)]
async fn work<T: Clone>(id: T) -> Result<T> {
    Ok(id.clone())
}

#[remote(cpu = Cpu3c_1_2)]
async fn unnamed(id: impl Into<u32>) -> Result<u32> {
    Ok(id.into())
}

fn main() {}
