//! The options of a call have types.
use flash_sdk::{Result, remote};

#[remote(cpu = Cpu3c_1_2)]
async fn double(number: u32) -> Result<u32> {
    Ok(2 * number)
}

async fn calls() -> Result<()> {
    double::options().priority("low").call(1).await?;
    double::options().timeout(60).call(1).await?;
    Ok(())
}

fn main() {}
