//! A worker type answers routes or jobs.
use flash_sdk::{Result, remote};

struct Model;

#[remote(cpu = Cpu3c_1_2)]
impl Model {
    #[init]
    fn load() -> Self {
        Self
    }

    #[route(method = GET, path = "/items")]
    pub fn one(&self) -> Result<()> {
        Ok(())
    }

    pub fn two(&self) -> Result<()> {
        Ok(())
    }
}

fn main() {}
