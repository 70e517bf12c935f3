//! Work that takes long, on workers of its own.
use std::collections::BTreeMap;

use flash_sdk::{Error, Result, remote};

/// Counts the words of a text.
///
/// A plain `fn` computes on the blocking pool, so that it delays nothing else.
#[remote(worker = "counter", cpu = Cpu3c_2_4, workers = 0..=3)]
pub fn count(text: String) -> Result<BTreeMap<String, u32>> {
    if text.trim().is_empty() {
        return Err(Error::status(422, "the text has no words"));
    }
    let mut counts = BTreeMap::new();
    for word in text.split_whitespace() {
        *counts.entry(word.to_lowercase()).or_default() += 1;
    }
    Ok(counts)
}
