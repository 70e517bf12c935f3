//! What is private is not called.
use flash_sdk::{Result, remote};

struct Model;

#[remote(cpu = Cpu3c_1_2)]
impl Model {
    #[init]
    fn load() -> Self {
        Self
    }

    pub fn work(&self) -> Result<()> {
        Ok(())
    }

    #[route(method = GET, path = "/items")]
    fn hidden(&self) {}
}

fn main() {}
