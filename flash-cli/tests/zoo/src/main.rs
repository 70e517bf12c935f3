//! An app whose functions take and give types of every shape.
mod animals;

use flash_sdk::Result;

#[flash_sdk::main]
async fn main() -> Result<()> {
    Ok(())
}
