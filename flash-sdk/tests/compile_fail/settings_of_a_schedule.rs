//! What belongs to a schedule stands beside one, and a schedule makes jobs.
use flash_sdk::{Result, remote};

#[remote(cpu = Cpu3c_1_2, schedule = "0 3 * * *", missed = always, overlap = "allow")]
async fn unknown_words() -> Result<()> {
    Ok(())
}

#[remote(cpu = Cpu3c_1_2, timezone = "Europe/Berlin", missed = once, overlap = skip)]
async fn without_a_schedule() -> Result<()> {
    Ok(())
}

#[remote(cpu = Cpu3c_1_2, schedule = "0 3 * *")]
async fn four_fields() -> Result<()> {
    Ok(())
}

#[remote(cpu = Cpu3c_1_2, schedule = EVERY_DAY)]
async fn of_a_constant() -> Result<()> {
    Ok(())
}

#[remote(cpu = Cpu3c_1_2, method = POST, path = "/nightly", schedule = "@daily")]
async fn route() -> Result<()> {
    Ok(())
}

struct Reports;

#[remote(cpu = Cpu3c_1_2)]
impl Reports {
    #[init]
    fn load() -> Self {
        Self
    }

    #[job(missed = once)]
    pub fn write(&self) -> Result<()> {
        Ok(())
    }

    #[job(schedule = "@daily", overlap = never)]
    pub fn send(&self) -> Result<()> {
        Ok(())
    }
}

const EVERY_DAY: &str = "@daily";

fn main() {}
