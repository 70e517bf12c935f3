//! A method by its name, and a path of whole segments.
use flash_sdk::{Result, remote};

#[remote(cpu = Cpu3c_1_2, method = "post", path = "/a")]
async fn method_in_quotes() -> Result<()> {
    Ok(())
}

#[remote(cpu = Cpu3c_1_2, method = FETCH, path = "/a")]
async fn no_method() -> Result<()> {
    Ok(())
}

#[remote(cpu = Cpu3c_1_2, method = GET, path = a)]
async fn path_without_quotes() -> Result<()> {
    Ok(())
}

#[remote(cpu = Cpu3c_1_2, method = GET, path = "/a?id=1")]
async fn query_in_the_path() -> Result<()> {
    Ok(())
}

#[remote(cpu = Cpu3c_1_2, method = GET, path = "/a//b")]
async fn empty_segment() -> Result<()> {
    Ok(())
}

#[remote(cpu = Cpu3c_1_2, method = GET, path = "/a/:id")]
async fn parameter_with_a_colon(id: u32) -> Result<u32> {
    Ok(id)
}

#[remote(cpu = Cpu3c_1_2, method = GET, path = "/a/{1d}")]
async fn parameter_without_a_name(id: u32) -> Result<u32> {
    Ok(id)
}

#[remote(cpu = Cpu3c_1_2, method = GET, path = "/a/{idx}")]
async fn nearly_an_argument(id: u32) -> Result<u32> {
    Ok(id)
}

struct Model;

#[remote(cpu = Cpu3c_1_2)]
impl Model {
    #[init]
    fn load() -> Self {
        Self
    }

    #[route]
    pub fn without_settings(&self) -> Result<()> {
        Ok(())
    }
}

struct Job;

#[remote(cpu = Cpu3c_1_2)]
impl Job {
    #[init]
    fn load() -> Self {
        Self
    }

    #[job]
    pub fn without_settings(&self) -> Result<()> {
        Ok(())
    }
}

fn main() {}
