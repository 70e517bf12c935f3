//! A future that cannot move between threads.
use flash_sdk::{Result, remote};

#[remote(cpu = Cpu3c_1_2)]
async fn work(id: u32) -> Result<u32> {
    let shared = std::rc::Rc::new(id);
    std::future::ready(()).await;
    Ok(*shared)
}

fn main() {}
