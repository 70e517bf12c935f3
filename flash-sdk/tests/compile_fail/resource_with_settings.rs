//! A constant says the whole worker type.
use flash_sdk::{CpuInstance, ResourceConfig, Result, remote};

const PIPELINE: ResourceConfig = ResourceConfig::new("pipeline").cpu(CpuInstance::Cpu3c_1_2);

#[remote(resource = PIPELINE, workers = 3)]
async fn work(id: u32) -> Result<u32> {
    Ok(id)
}

fn main() {}
