//! The numbers of settings have limits, and are literal.
use flash_sdk::{Result, remote};
use futures_util::{Stream, stream};

#[remote(cpu = Cpu3c_1_2, buffer = 0, shm_mib = 0, start_timeout = 0)]
async fn too_small(id: u32) -> Result<u32> {
    Ok(id)
}

#[remote(cpu = Cpu3c_1_2, buffer = 1001, shm_mib = 1048577, disk_gib = 10001)]
async fn too_large(id: u32) -> Result<u32> {
    Ok(id)
}

#[remote(cpu = Cpu3c_1_2, buffer = SPARE, shm_mib = "1 GB", disk_gib = 1.5)]
async fn no_numbers(id: u32) -> Result<u32> {
    Ok(id)
}

#[remote(cpu = Cpu3c_1_2, queue_delay = 0)]
async fn without_a_delay(id: u32) -> Result<u32> {
    Ok(id)
}

#[remote(cpu = Cpu3c_1_2, method = POST, path = "/a", max_body_mib = 0, request_timeout = 0)]
async fn body(id: u32) -> Result<u32> {
    Ok(id)
}

#[remote(cpu = Cpu3c_1_2, method = GET, path = "/b", replay = 0)]
fn events() -> impl Stream<Item = Result<u32>> {
    stream::iter([Ok(1)])
}

#[remote(cpu = Cpu3c_1_2, method = GET, path = "/c", replay = 10001)]
fn more_events() -> impl Stream<Item = Result<u32>> {
    stream::iter([Ok(1)])
}

#[remote(cpu = Cpu3c_1_2, workers = 0..=1001)]
async fn many_workers(id: u32) -> Result<u32> {
    Ok(id)
}

#[remote(cpu = Cpu3c_1_2, workers = "3")]
async fn workers_as_text(id: u32) -> Result<u32> {
    Ok(id)
}

#[remote(cpu = Cpu3c_1_2, workers = 1..)]
async fn endless_workers(id: u32) -> Result<u32> {
    Ok(id)
}

const SPARE: u32 = 1;

fn main() {}
