//! A GPU that is named has the memory that workers need.
use flash_sdk::{GpuPool, ResourceConfig, Result, remote};

#[remote(gpu = Ada24, vram_gib = 30)]
async fn pool(id: u32) -> Result<u32> {
    Ok(id)
}

#[remote(gpu = [Ampere80, Ada24], vram_gib = 30)]
async fn one_of_two(id: u32) -> Result<u32> {
    Ok(id)
}

#[remote(gpu_types = [Rtx4090], vram_gib = 30)]
async fn kind(id: u32) -> Result<u32> {
    Ok(id)
}

#[remote(vram_gib = 1000)]
async fn no_gpu_has_it(id: u32) -> Result<u32> {
    Ok(id)
}

#[remote(gpu = Ada24, vram_gib = 0)]
async fn none(id: u32) -> Result<u32> {
    Ok(id)
}

const MODEL: ResourceConfig = ResourceConfig::new("model").gpu(GpuPool::Ada24).vram_gib(30);

#[remote(resource = MODEL)]
async fn of_a_constant(id: u32) -> Result<u32> {
    Ok(id)
}

fn main() {}
