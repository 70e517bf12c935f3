//! The entry of a binary takes nothing.
#[flash_sdk::main]
async fn main(args: Vec<String>) {
    let _ = args;
}
