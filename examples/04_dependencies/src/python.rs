//! Runs `scripts/keywords.py`.
use std::{
    io::Write as _,
    process::{Command, Stdio},
};

use flash_sdk::{Error, Result, ResultExt as _, remote};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The interpreter: `needs` in flash.toml names it too.
const PYTHON: &str = "python3";
/// Relative to the crate's directory under `flash run`, and to `/app` in the image.
const SCRIPT: &str = "scripts/keywords.py";

/// What the script prints.
#[derive(Serialize, Deserialize, JsonSchema)]
pub struct Keywords {
    /// Most frequent first.
    pub words: Vec<Keyword>,
    /// The version of the interpreter.
    pub python: String,
}

/// A word of the text.
#[derive(Serialize, Deserialize, JsonSchema)]
pub struct Keyword {
    pub word: String,
    pub times: u32,
}

/// Counts the words of a text, without those in `data/stopwords.txt`.
///
/// A plain `fn`: it waits for another program, so it runs on the blocking pool.
#[remote(worker = "python_worker", cpu = Cpu3c_1_2, workers = 0..=3)]
pub fn keywords(text: String) -> Result<Keywords> {
    let mut python = Command::new(PYTHON)
        .arg(SCRIPT)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("cannot start python3")?;
    if let Some(mut stdin) = python.stdin.take() {
        stdin.write_all(text.as_bytes()).context("python3 does not read its input")?;
    }
    let output = python.wait_with_output()?;
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr);
        return Err(Error::handler(format!("{SCRIPT}: {}: {stderr}", output.status)));
    }
    serde_json::from_slice(&output.stdout).context("the script printed something else")
}
