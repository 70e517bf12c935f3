//! A constant has the limits of the attribute.
use flash_sdk::{CpuInstance, GpuPool, ResourceConfig, Result, remote};

const CPU: ResourceConfig = ResourceConfig::new("name").cpu(CpuInstance::Cpu3c_1_2);

const NAME: ResourceConfig = ResourceConfig::new("my worker");
const HARDWARE: ResourceConfig = CPU.gpu(GpuPool::Ada24);
const WORKERS: ResourceConfig = CPU.workers(3..=1);
const IDLE: ResourceConfig = CPU.idle_timeout(0);
const EXECUTION: ResourceConfig = CPU.execution_timeout(0);
const START: ResourceConfig = CPU.start_timeout(0);
const CONCURRENCY: ResourceConfig = CPU.max_concurrency(0);
const DELAY: ResourceConfig = CPU.queue_delay(0);
const REQUESTS: ResourceConfig = CPU.request_count(0);
const BUFFER: ResourceConfig = CPU.buffer(1001);
const DISK: ResourceConfig = CPU.disk_gib(0);
const SHM: ResourceConfig = CPU.shm_mib(0);
const VRAM: ResourceConfig = CPU.vram_gib(8);
const COUNT: ResourceConfig = CPU.gpu_count(2);
const COUNT_OF_GPU: ResourceConfig = ResourceConfig::new("name").gpu(GpuPool::Ada24).gpu_count(9);
const BODY: ResourceConfig = CPU.max_body_mib(0);
const REQUEST: ResourceConfig = CPU.request_timeout(0);
const TASK: ResourceConfig = CPU.workers(1..=3).task();
const BUFFERED_TASK: ResourceConfig = CPU.buffer(1).task();

#[remote(resource = CPU)]
async fn work(id: u32) -> Result<u32> {
    Ok(id)
}

fn main() {}
