//! A function whose attribute is wrong keeps its public face.
use flash_sdk::{Result, remote};

#[remote(cpu = Cpu3c_1_2, idle_timeout = 0)]
fn work(id: u32) -> Result<u32> {
    Ok(id)
}

async fn caller() -> Result<u32> {
    work::spawn(1).await?.wait().await?;
    work(1).await
}

fn main() {
    let _ = caller();
}
