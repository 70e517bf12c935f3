//! Hardware is said somewhere.
use flash_sdk::{Result, remote};

#[remote()]
async fn work(id: u32) -> Result<u32> {
    Ok(id)
}

#[remote(worker = "pool", workers = 3)]
async fn other(id: u32) -> Result<u32> {
    Ok(id)
}

fn main() {}
