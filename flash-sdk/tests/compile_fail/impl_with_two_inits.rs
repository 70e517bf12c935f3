//! A worker prepares itself once.
use flash_sdk::{Result, remote};

struct Model;

#[remote(cpu = Cpu3c_1_2)]
impl Model {
    #[init]
    fn load() -> Self {
        Self
    }

    #[init]
    fn again() -> Self {
        Self
    }

    pub fn work(&self) -> Result<()> {
        Ok(())
    }
}

fn main() {}
