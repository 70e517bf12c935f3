//! A worker that starts has nothing to pass.
use flash_sdk::{Result, remote};

struct Model;

#[remote(cpu = Cpu3c_1_2)]
impl Model {
    #[init]
    fn load(size: u32) -> Self {
        let _ = size;
        Self
    }

    pub fn work(&self) -> Result<()> {
        Ok(())
    }
}

fn main() {}
