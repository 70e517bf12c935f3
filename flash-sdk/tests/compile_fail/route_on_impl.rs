//! Each method says its own route.
use flash_sdk::{Result, remote};

struct Model;

#[remote(cpu = Cpu3c_1_2, method = GET, path = "/")]
impl Model {
    #[init]
    fn load() -> Self {
        Self
    }

    pub fn work(&self) -> Result<()> {
        Ok(())
    }
}

fn main() {}
