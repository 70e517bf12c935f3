//! One runtime is enough.
#[flash_sdk::main]
#[tokio::main]
async fn main() {}
