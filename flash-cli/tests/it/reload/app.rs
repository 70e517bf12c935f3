//! The app that the reload tests edit: small, because they compile it again and again.
use flash_sdk::{CpuInstance, ResourceConfig, Result, remote};
use serde_json::{Value, json};

/// Which version answers.
const VERSION: &str = "one";

const WEB: ResourceConfig = ResourceConfig::new("web").cpu(CpuInstance::Cpu3c_1_2).workers(1..=2);

/// Greets somebody.
#[remote(worker = "greeter", cpu = Cpu3c_1_2, workers = 0..=3)]
pub async fn greet(name: String) -> Result<String> {
    Ok(format!("{VERSION}: hello {name}"))
}

/// Greets by way of another worker.
#[remote(resource = WEB, method = POST, path = "/greet")]
pub async fn greet_over(name: String) -> Result<Value> {
    Ok(json!({ "greeting": greet(name).await? }))
}

/// Says goodbye.
#[remote(resource = WEB, method = POST, path = "/leave")]
pub async fn leave(name: String) -> Result<String> {
    Ok(format!("{VERSION}: goodbye {name}"))
}

#[flash_sdk::main]
async fn main() -> Result<()> {
    Ok(())
}
