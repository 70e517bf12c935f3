//! The error type is reported on the return type.
use flash_sdk::{Result, remote};

pub struct Oops;

#[remote(cpu = Cpu3c_1_2)]
async fn work() -> Result<u32, Oops> {
    Err(Oops)
}

#[remote(cpu = Cpu3c_1_2)]
fn blocks() -> Result<u32, Oops> {
    Err(Oops)
}

fn main() {}
