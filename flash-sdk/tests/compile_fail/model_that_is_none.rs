//! A model is named by repository and revision, and its directory goes to `#[init]`.
use flash_sdk::{ModelDir, Result, remote};

struct Climber;

#[remote(cpu = Cpu3c_1_2, model = "org/../name")]
impl Climber {
    #[init]
    fn load(model: ModelDir) -> Result<Self> {
        let _ = model;
        Ok(Self)
    }

    pub fn work(&self) -> Result<()> {
        Ok(())
    }
}

struct Renamed;

#[remote(cpu = Cpu3c_1_2, model = "org/name", files = ["../*"])]
impl Renamed {
    #[init]
    fn load(model: std::path::PathBuf) -> Self {
        let _ = model;
        Self
    }

    pub fn work(&self) -> Result<()> {
        Ok(())
    }
}

fn main() {}
