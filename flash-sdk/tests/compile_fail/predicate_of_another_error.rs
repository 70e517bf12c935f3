//! A predicate takes a reference to the function's own error, and says yes or no.
use std::io;

use flash_sdk::{Result, remote};

#[remote(cpu = Cpu3c_1_2, retries = 2, retry_if = is_busy)]
async fn other_error(id: u32) -> Result<u32> {
    Ok(id)
}

#[remote(cpu = Cpu3c_1_2, retries = 2, retry_if = io::Error::kind)]
async fn no_answer(id: u32) -> Result<u32, io::Error> {
    Ok(id)
}

fn is_busy(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::ResourceBusy
}

fn main() {}
