//! A worker type has functions.
use flash_sdk::remote;

struct Model;

#[remote(cpu = Cpu3c_1_2)]
impl Model {
    #[init]
    fn load() -> Self {
        Self
    }
}

fn main() {}
