//! A task takes jobs.
use flash_sdk::{Result, remote};

#[remote(cpu = Cpu3c_1_2, task, method = POST, path = "/train")]
async fn train(id: u32) -> Result<u32> {
    Ok(id)
}

#[remote(cpu = Cpu3c_1_2, task, buffer = 1, max_concurrency = 2, queue_delay = 4)]
async fn with_spare_workers(id: u32) -> Result<u32> {
    Ok(id)
}

struct Trainer;

#[remote(cpu = Cpu3c_1_2, task)]
impl Trainer {
    #[init]
    fn load() -> Self {
        Self
    }

    #[route(method = POST, path = "/train")]
    pub fn train(&self) -> Result<()> {
        Ok(())
    }
}

fn main() {}
