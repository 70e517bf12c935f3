//! Several calls run at a time on one value.
use flash_sdk::{Result, remote};

struct Model;

#[remote(cpu = Cpu3c_1_2)]
impl Model {
    #[init]
    fn load() -> Self {
        Self
    }

    pub fn work(&mut self) -> Result<()> {
        Ok(())
    }
}

fn main() {}
