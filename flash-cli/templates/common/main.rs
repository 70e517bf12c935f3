//! Links the functions of the library, so that this binary is their worker.
use {{crate}} as _;

#[flash_sdk::main]
async fn main() {}
