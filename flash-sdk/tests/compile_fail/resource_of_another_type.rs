//! A resource is a `ResourceConfig`.
use flash_sdk::{Result, remote};

const PIPELINE: &str = "pipeline";

#[remote(resource = PIPELINE)]
async fn work(id: u32) -> Result<u32> {
    Ok(id)
}

fn main() {}
