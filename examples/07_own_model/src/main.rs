//! What is in a photo, by a model that this crate writes itself: layers of candle, weights by `model = …`, batches.
mod classifier;
mod depthwise;
mod network;
mod pixels;

use classifier::{Classifier, Guess};
use flash_sdk::{Bytes, Result, remote};

/// The five things that are most likely in a photo, a JPEG or PNG, the most likely one first.
#[remote(worker = "site", cpu = Cpu3c_1_2, workers = 0..=1, method = POST, path = "/classify")]
pub async fn classify(photo: Bytes) -> Result<Vec<Guess>> {
    Classifier::classify(photo).await
}

/// Without `flash run`: one photo, in this process.
#[flash_sdk::main]
#[expect(clippy::print_stdout, reason = "the program's answer")]
async fn main() -> Result<()> {
    let path = std::env::args().nth(1).unwrap_or_else(|| "photos/cat.jpg".to_owned());
    let guesses = classify(std::fs::read(path)?.into()).await?;
    println!("{}", serde_json::to_string_pretty(&guesses)?);
    Ok(())
}
