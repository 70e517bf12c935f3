//! The words that matter in a text, counted by a Python script. Only the worker type that runs the script has Python.
mod python;

use flash_sdk::{Result, remote};
use python::{Keywords, keywords};

/// Finds the words that a text uses most.
#[remote(worker = "web", cpu = Cpu3c_1_2, workers = 0..=3, method = POST, path = "/keywords")]
pub async fn find(text: String) -> Result<Keywords> {
    keywords(text).await
}

/// Without `flash run`: the keywords of one text, in this process.
#[flash_sdk::main]
#[expect(clippy::print_stdout, reason = "the program's answer")]
async fn main() -> Result<()> {
    let text = std::env::args().nth(1).unwrap_or_else(|| "The dog and the dog's other dog.".to_owned());
    println!("{}", serde_json::to_string_pretty(&find(text).await?)?);
    Ok(())
}
