//! What `#[exit]` and `#[health]` cannot say, and where they cannot stand.
use flash_sdk::{Result, remote};

struct Model;

#[remote(worker = "model", cpu = Cpu3c_1_2)]
impl Model {
    #[init]
    fn load() -> Self {
        Self
    }

    #[exit]
    fn close(&self) -> u32 {
        1
    }

    #[health = 5]
    fn alive(&self) -> Result<()> {
        Ok(())
    }

    #[health]
    #[route(method = GET, path = "/alive")]
    pub fn again(&self) -> Result<()> {
        Ok(())
    }

    pub fn work(&self) -> Result<()> {
        Ok(())
    }
}

struct Checked;

#[remote(worker = "checked", cpu = Cpu3c_1_2)]
impl Checked {
    #[init]
    fn load() -> Self {
        Self
    }

    #[health(each = 5)]
    fn alive(&self) -> Result<()> {
        Ok(())
    }

    #[health]
    fn again(&self) -> Result<()> {
        Ok(())
    }

    pub fn work(&self) -> Result<()> {
        Ok(())
    }
}

struct TwiceChecked;

#[remote(worker = "twice", cpu = Cpu3c_1_2)]
impl TwiceChecked {
    #[init]
    fn load() -> Self {
        Self
    }

    #[health]
    fn alive(&self) -> Result<()> {
        Ok(())
    }

    #[health]
    fn again(&self) -> Result<()> {
        Ok(())
    }

    pub fn work(&self) -> Result<()> {
        Ok(())
    }
}

fn main() {}
