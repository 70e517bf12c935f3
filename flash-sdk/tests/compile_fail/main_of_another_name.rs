//! The entry of a binary is `main`.
#[flash_sdk::main]
async fn start() {}

fn main() {}
