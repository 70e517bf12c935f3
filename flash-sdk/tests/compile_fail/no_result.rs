//! A call across processes can fail.
use flash_sdk::remote;

#[remote(cpu = Cpu3c_1_2)]
async fn work(id: u32) -> u32 {
    id
}

#[remote(cpu = Cpu3c_1_2)]
async fn silent() {
    
}

fn main() {}
