//! A worker has a way to prepare itself.
use flash_sdk::{Result, remote};

struct Model;

#[remote(cpu = Cpu3c_1_2)]
impl Model {
    pub fn work(&self) -> Result<()> {
        Ok(())
    }
}

fn main() {}
