//! Five fields of cron, a time zone that exists, and no input.
use flash_sdk::{Result, remote};

#[remote(cpu = Cpu3c_1_2, schedule = "61 * * * *")]
async fn hourly() -> Result<()> {
    Ok(())
}

#[remote(cpu = Cpu3c_1_2, schedule = "@daily", timezone = "Europe/Berln")]
async fn daily() -> Result<()> {
    Ok(())
}

#[remote(cpu = Cpu3c_1_2, schedule = "@weekly")]
async fn weekly(week: u32) -> Result<u32> {
    Ok(week)
}

fn main() {}
