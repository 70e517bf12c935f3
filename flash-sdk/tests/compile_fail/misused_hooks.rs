//! The worker calls `#[exit]` and `#[health]`: each is one method, with `&self` and nothing to pass.
use flash_sdk::{Result, remote};

struct Twice;

#[remote(worker = "twice", cpu = Cpu3c_1_2)]
impl Twice {
    #[init]
    fn load() -> Self {
        Self
    }

    #[exit]
    fn close(&self) {}

    #[exit]
    fn again(&self) {}

    #[health]
    fn alive(&self) {}

    pub fn work(&self) -> Result<()> {
        Ok(())
    }
}

struct Shaped;

#[remote(worker = "shaped", cpu = Cpu3c_1_2)]
impl Shaped {
    #[init]
    fn load() -> Self {
        Self
    }

    #[exit]
    pub fn close(&self, reason: String) -> Result<()> {
        drop(reason);
        Ok(())
    }

    #[health(every = 0)]
    fn alive(&self) -> Result<()> {
        Ok(())
    }

    pub fn work(&self) -> Result<()> {
        Ok(())
    }
}

struct Both;

#[remote(worker = "both", cpu = Cpu3c_1_2)]
impl Both {
    #[init]
    fn load() -> Self {
        Self
    }

    #[exit]
    #[health]
    fn close(&self) -> Result<()> {
        Ok(())
    }

    pub fn work(&self) -> Result<()> {
        Ok(())
    }
}

#[remote(worker = "free", cpu = Cpu3c_1_2)]
#[exit]
fn close() -> Result<()> {
    Ok(())
}

fn main() {}
