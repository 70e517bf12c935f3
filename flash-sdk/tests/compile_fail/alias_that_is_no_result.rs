//! What a generic type stands for only the compiler knows.
use flash_sdk::remote;

pub struct Page<T>(T);

#[remote(cpu = Cpu3c_1_2)]
async fn work(id: u32) -> Page<u32> {
    Page(id)
}

fn main() {}
