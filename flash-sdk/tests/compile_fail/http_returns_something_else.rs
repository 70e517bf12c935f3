//! A router is what axum calls one, and models are those of the SDK.
use flash_sdk::{Result, remote};

#[remote(cpu = Cpu3c_1_2, http)]
fn text() -> String {
    String::new()
}

#[remote(worker = "text", http = "/numbers")]
async fn numbers() -> Result<Vec<u8>> {
    Ok(Vec::new())
}

#[remote(worker = "text", openai = "one")]
fn models() -> u32 {
    1
}

fn main() {}
