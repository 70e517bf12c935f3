//! The app that `cargo xtask bench` runs: a pipeline over three worker types, and functions that do
//! nothing, and functions that pass a picture on.
mod nothing;
mod pictures;
mod pipeline;

use flash_sdk::Result;

#[flash_sdk::main]
async fn main() -> Result<()> {
    Ok(())
}
