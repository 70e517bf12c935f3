//! A request has one answer.
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

    #[route(method = GET, path = "/items")]
    pub fn two(&self) -> Result<()> {
        Ok(())
    }
}

fn main() {}
