//! Another attempt follows a job's error, after a wait from the first to the longest.
use flash_sdk::{Result, remote};
use futures_util::{Stream, stream};

#[remote(cpu = Cpu3c_1_2, backoff = 1..=60)]
async fn without_retries() -> Result<()> {
    Ok(())
}

#[remote(cpu = Cpu3c_1_2, retries = 3, backoff = 60..=1)]
async fn downwards() -> Result<()> {
    Ok(())
}

#[remote(cpu = Cpu3c_1_2, retries = 3, backoff = 1..60)]
async fn half_open() -> Result<()> {
    Ok(())
}

#[remote(cpu = Cpu3c_1_2, retries = 3, backoff = 0..=60)]
async fn without_a_wait() -> Result<()> {
    Ok(())
}

#[remote(cpu = Cpu3c_1_2, retries = 3, backoff = 5)]
async fn one_number() -> Result<()> {
    Ok(())
}

#[remote(cpu = Cpu3c_1_2, retries = 3, backoff = 1..=LONGEST)]
async fn of_a_constant() -> Result<()> {
    Ok(())
}

#[remote(cpu = Cpu3c_1_2, method = POST, path = "/store", retries = 3)]
async fn route() -> Result<()> {
    Ok(())
}

#[remote(cpu = Cpu3c_1_2, retries = 3)]
fn streaming() -> impl Stream<Item = Result<u32>> {
    stream::iter([Ok(1)])
}

#[remote(cpu = Cpu3c_1_2, retries = 2, retry_if = |error, attempt| attempt < 2)]
async fn two_arguments(id: u32) -> Result<u32> {
    Ok(id)
}

const LONGEST: u32 = 60;

fn main() {}
