//! A function behind a queue, and a route that calls it.
use flash_sdk::{Result, remote, stream::TryStreamExt as _};

/// Greets one person.
#[remote(worker = "greeter", cpu = Cpu3c_1_2, workers = 0..=3)]
pub async fn greet(name: String) -> Result<String> {
    Ok(format!("Hello, {name}!"))
}

/// Greets everyone. Each greeting is a job for a worker of the type `greeter`.
#[remote(worker = "web", cpu = Cpu3c_1_2, workers = 1..=2, method = POST, path = "/hello")]
pub async fn hello(names: Vec<String>) -> Result<Vec<String>> {
    greet::options().map_ordered(names).try_collect().await
}
