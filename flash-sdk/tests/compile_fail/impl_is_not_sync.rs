//! Several threads share the value.
use flash_sdk::{Result, remote};

struct Model(std::cell::Cell<u32>);

#[remote(cpu = Cpu3c_1_2)]
impl Model {
    #[init]
    fn load() -> Self {
        Self(std::cell::Cell::new(0))
    }

    pub async fn work(&self) -> Result<u32> {
        Ok(self.0.get())
    }
}

fn main() {}
