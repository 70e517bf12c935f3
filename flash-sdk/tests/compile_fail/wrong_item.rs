//! The attribute goes on functions and `impl` blocks.
use flash_sdk::remote;

#[remote(cpu = Cpu3c_1_2)]
struct Work;

fn main() {}
