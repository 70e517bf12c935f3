//! The first step, on a cheap worker: checks the text and cuts it.
use flash_sdk::{Error, Result, remote};

/// At most this many sentences.
const MOST: usize = 1_000;

/// The sentences of a text.
#[remote(worker = "splitter", cpu = Cpu3c_1_2, workers = 0..=2)]
pub fn sentences(text: String) -> Result<Vec<String>> {
    let sentences: Vec<String> =
        text.split_inclusive(['.', '!', '?']).map(|part| part.trim().to_owned()).filter(|part| !part.is_empty()).collect();
    match sentences.len() {
        0 => Err(Error::status(422, "the text has no sentences")),
        count if count > MOST => Err(Error::status(422, format!("{count} sentences; at most {MOST} are allowed"))),
        _ => Ok(sentences),
    }
}
