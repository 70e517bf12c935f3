//! Sentiment of a text, by a pipeline: clean it on a CPU worker, run the model on a GPU worker, format
//! the answer on a CPU worker. The GPU is paid for only while the model runs.
mod cpu_worker;
mod gpu_worker;
mod pipeline;

use flash_sdk::Result;

/// Without `flash run`: one classification in this process, to try the model.
#[flash_sdk::main]
#[expect(clippy::print_stdout, reason = "the program's answer")]
async fn main() -> Result<()> {
    let text = std::env::args().nth(1).unwrap_or_else(|| "This product is amazing! I love it!".to_owned());
    let result = pipeline::classify(text).await?;
    println!("{}", serde_json::to_string_pretty(&result)?);
    Ok(())
}
