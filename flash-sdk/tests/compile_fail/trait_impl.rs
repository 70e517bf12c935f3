//! Functions are inherent.
use flash_sdk::remote;

struct Model;

#[remote(cpu = Cpu3c_1_2)]
impl Default for Model {
    fn default() -> Self {
        Self
    }
}

fn main() {}
