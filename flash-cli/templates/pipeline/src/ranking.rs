//! The last step, on the worker that clients reach: what the vectors say.
use flash_sdk::{Error, Result, remote};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{embedder::Embedder, sentences::sentences};

/// At most this many sentences are returned.
const BEST: usize = 3;

/// A sentence that fits the question.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Hit {
    /// The sentence.
    pub sentence: String,
    /// How well it fits: 1 means the same, about 0 has nothing to do with it.
    pub score: f32,
}

/// The three sentences of a text that fit a question best.
#[remote(worker = "web", cpu = Cpu3c_1_2, workers = 1..=2, method = POST, path = "/search")]
pub async fn search(question: String, text: String) -> Result<Vec<Hit>> {
    let sentences = sentences(text).await?;
    let mut texts = sentences.clone();
    texts.push(question);
    let mut vectors = Embedder::embed(texts).await?;
    let question = vectors.pop().ok_or_else(|| Error::handler("the embedder returned no vectors"))?;
    Ok(best(sentences, &vectors, &question))
}

/// The best sentences, best first.
fn best(sentences: Vec<String>, vectors: &[Vec<f32>], question: &[f32]) -> Vec<Hit> {
    let score = |vector: &Vec<f32>| vector.iter().zip(question).map(|(one, other)| one * other).sum();
    let mut hits: Vec<Hit> = sentences
        .into_iter()
        .zip(vectors)
        .map(|(sentence, vector)| Hit { sentence, score: score(vector) })
        .collect();
    hits.sort_by(|one, other| other.score.total_cmp(&one.score));
    hits.truncate(BEST);
    hits
}
