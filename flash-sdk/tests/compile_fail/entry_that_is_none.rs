//! An entry and a test are plain functions.
#[flash_sdk::main]
struct App;

#[flash_sdk::main]
async fn main<T>() {}

#[flash_sdk::test]
async fn generic<T>() {}
