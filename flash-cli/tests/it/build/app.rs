//! The app of the tests of `flash build`: a queue function and a route, each on a worker type of its own.
use flash_sdk::{Result, remote};

/// Adds numbers up; its panic names a source file.
#[remote(worker = "cruncher", cpu = Cpu3c_1_2)]
pub async fn crunch(numbers: Vec<u32>) -> Result<u32> {
    assert!(!numbers.is_empty(), "nothing to add in {}", file!());
    Ok(numbers.iter().sum())
}

/// A page.
#[remote(worker = "page", cpu = Cpu3c_1_2, method = GET, path = "/page/{number}")]
pub async fn page(number: u32) -> Result<u32> {
    Ok(number)
}

#[flash_sdk::main]
async fn main() {}
