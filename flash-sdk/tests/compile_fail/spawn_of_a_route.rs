//! A route answers its request, and a stream its caller: neither makes a job.
use flash_sdk::{Result, remote};

#[remote(cpu = Cpu3c_1_2, method = POST, path = "/add")]
async fn add(left: u32, right: u32) -> Result<u32> {
    Ok(left + right)
}

#[remote(worker = "add", method = GET, path = "/nothing")]
async fn nothing() -> Result<()> {
    Ok(())
}

async fn calls() -> Result<()> {
    add::spawn(1, 2).await?;
    nothing::spawn().await?;
    Ok(())
}

fn main() {}
