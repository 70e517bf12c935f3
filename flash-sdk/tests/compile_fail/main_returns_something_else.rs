//! The result of `main` becomes an exit code.
#[flash_sdk::main]
async fn main() -> u32 {
    1
}
