//! A constructor returns its type.
use flash_sdk::{Result, remote};

struct Model;

#[remote(cpu = Cpu3c_1_2)]
impl Model {
    #[init]
    fn load() -> u32 {
        1
    }

    pub fn work(&self) -> Result<()> {
        Ok(())
    }
}

fn main() {}
