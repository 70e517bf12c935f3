//! A test is an `async fn` that needs nothing.
#[flash_sdk::test]
fn plain() {}

#[flash_sdk::test(flavor = "multi_thread")]
async fn with_settings() {}

#[flash_sdk::test]
async fn with_arguments(number: u32) {}

#[flash_sdk::test]
#[test]
async fn twice() {}

#[flash_sdk::test]
struct NoFunction;

fn main() {}
