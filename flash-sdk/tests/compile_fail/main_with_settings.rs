//! The attribute takes nothing.
#[flash_sdk::main(workers = 1)]
async fn main() {}
