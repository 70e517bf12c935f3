//! A Rust pipeline in front of a Python worker: checks, the model, and what is made of its answer.
use flash_sdk::{Error, Result, remote};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// At most this many characters.
const LONGEST: usize = 100_000;

/// A summary of a text.
#[derive(Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Summary {
    /// The summary.
    pub summary: String,
    /// Sentences of the text.
    pub sentences: u32,
    /// Length of the summary divided by the length of the text.
    pub ratio: f64,
}

/// What `worker.py` takes.
#[derive(Serialize)]
struct Input<'a> {
    text: &'a str,
}

/// What `worker.py` answers.
#[derive(Debug, Clone, Deserialize)]
pub struct Output {
    /// The summary.
    pub summary: String,
    /// Sentences of the text.
    pub sentences: u32,
}

/// Summarizes a text: this worker checks the request, and Python runs only for one that is valid.
#[remote(worker = "web", cpu = Cpu3c_1_2, workers = 1..=2, method = POST, path = "/summaries")]
pub async fn summarize(text: String) -> Result<Summary> {
    let text = checked(&text)?;
    let output: Output = flash_sdk::call_worker("summarizer", &Input { text }).await?;
    Ok(made_of(text, output))
}

/// The text without surrounding spaces.
///
/// # Errors
/// 422 if it is empty or too long.
pub fn checked(text: &str) -> Result<&str> {
    let (text, length) = (text.trim(), text.chars().count());
    if text.is_empty() {
        return Err(Error::status(422, "the text is empty"));
    }
    if length > LONGEST {
        return Err(Error::status(422, format!("the text has {length} characters, at most {LONGEST} are allowed")));
    }
    Ok(text)
}

/// The answer for a text, from what the model said.
pub fn made_of(text: &str, output: Output) -> Summary {
    let ratio = output.summary.chars().count() as f64 / text.chars().count() as f64;
    Summary { summary: output.summary, sentences: output.sentences, ratio }
}
