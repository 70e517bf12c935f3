//! Tokens of all choices of an answer.
use serde_json::{Value, json};

use crate::model::{Generated, Usage};

/// Tokens of an answer so far. A prompt counts once, however many choices it has.
#[derive(Clone, Debug)]
pub(crate) struct Totals {
    prompt_tokens: usize,
    cached_tokens: usize,
    completion_tokens: usize,
    /// What each running choice has counted.
    running: Vec<usize>,
}

impl Totals {
    pub(crate) fn new(prompt_tokens: usize, choices: usize) -> Self {
        Self { prompt_tokens, cached_tokens: 0, completion_tokens: 0, running: vec![0; choices] }
    }

    /// A choice has generated more, or has ended.
    pub(crate) fn count(&mut self, choice: usize, generated: &Generated) {
        let Some(running) = self.running.get_mut(choice) else { return };
        match generated {
            Generated::Begun(_) => {}
            Generated::Piece(piece) => *running += piece.tokens,
            Generated::End(end) => {
                let Usage { cached_tokens, completion_tokens, .. } = end.usage;
                // The model counts the end-of-text token too.
                *running = 0;
                self.completion_tokens += completion_tokens;
                self.cached_tokens = self.cached_tokens.saturating_add(cached_tokens).min(self.prompt_tokens);
            }
        }
    }

    pub(crate) fn to_json(&self) -> Value {
        let completion = self.completion_tokens + self.running.iter().sum::<usize>();
        json!({
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": completion,
            "total_tokens": self.prompt_tokens + completion,
            "prompt_tokens_details": { "cached_tokens": self.cached_tokens }
        })
    }
}
