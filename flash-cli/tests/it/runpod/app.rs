//! The app of the tests of the target `runpod`: a route that calls a queue function on a worker type of its own.
use flash_sdk::{Result, remote};

/// Adds numbers up.
#[remote(worker = "cruncher", cpu = Cpu3c_2_4, workers = 0..=2, idle_timeout = 60)]
pub async fn crunch(numbers: Vec<u32>) -> Result<u32> {
    println!("crunching {} numbers", numbers.len());
    Ok(numbers.iter().sum())
}

/// The sum from 1 to a number.
#[remote(worker = "page", cpu = Cpu3c_2_4, workers = 1..=2, method = GET, path = "/sum/{to}")]
pub async fn page(to: u32) -> Result<u32> {
    crunch((1..=to).collect()).await
}

#[flash_sdk::main]
async fn main() {}
