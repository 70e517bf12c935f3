//! Values travel between processes.
use flash_sdk::{Result, remote};

#[remote(cpu = Cpu3c_1_2)]
async fn work(text: &str, parts: Vec<&[u8]>) -> Result<usize> {
    Ok(text.len() + parts.len())
}

fn main() {}
