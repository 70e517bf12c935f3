//! A task has a fresh worker for each job; settings of one function are written where the function is.
use flash_sdk::{Result, remote};

#[remote(cpu = Cpu3c_1_2, task = true, workers = 0..=2)]
async fn with_a_value(id: u32) -> Result<u32> {
    Ok(id)
}

#[remote(cpu = Cpu3c_1_2, task, workers = 1..=2, idle_timeout = 5)]
async fn with_waiting_workers(id: u32) -> Result<u32> {
    Ok(id)
}

struct Model;

#[remote(cpu = Cpu3c_1_2, retries = 3)]
impl Model {
    #[init]
    fn load() -> Self {
        Self
    }

    #[job(retries = 0)]
    pub fn work(&self) -> Result<()> {
        Ok(())
    }

    #[job(retries = 3)]
    fn hidden(&self) {}
}

#[remote(cpu = Cpu3c_1_2, retry_if = is_busy)]
async fn without_retries(id: u32) -> Result<u32> {
    Ok(id)
}

#[remote(cpu = Cpu3c_1_2, retries = 2, retry_if = "busy")]
async fn with_a_text(id: u32) -> Result<u32> {
    Ok(id)
}

fn is_busy(error: &std::io::Error) -> bool {
    error.kind() == std::io::ErrorKind::ResourceBusy
}

fn main() {}
