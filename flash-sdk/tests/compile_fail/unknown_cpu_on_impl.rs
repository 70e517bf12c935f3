//! A name that is wrong for several methods is reported once.
use flash_sdk::{Result, remote};

struct Model;

#[remote(cpu = Cpu3c_1_3)]
impl Model {
    #[init]
    fn load() -> Self {
        Self
    }

    pub fn one(&self) -> Result<()> {
        Ok(())
    }

    pub fn two(&self) -> Result<()> {
        Ok(())
    }
}

fn main() {}
