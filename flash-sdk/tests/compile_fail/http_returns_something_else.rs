//! A router is what axum calls one.
use flash_sdk::{Result, remote};

#[remote(cpu = Cpu3c_1_2, http)]
fn text() -> String {
    String::new()
}

#[remote(worker = "text", http = "/numbers")]
async fn numbers() -> Result<Vec<u8>> {
    Ok(Vec::new())
}

fn main() {}
