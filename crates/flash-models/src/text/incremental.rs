//! Text of tokens as they come: whole characters only.
use tokenizers::{Tokenizer, step_decode_stream};

/// Tokens that are held back at most. A character has at most four bytes, and no token has less than one; a model that
/// talks nonsense may never complete one.
const HELD_TOKENS: usize = 8;

/// The text of an answer, token by token.
#[derive(Debug, Default)]
pub(crate) struct IncrementalText {
    ids: Vec<u32>,
    prefix: String,
    prefix_index: usize,
}

impl IncrementalText {
    /// The text that this token completes. `None` while a character is unfinished. Special tokens have no text.
    pub(crate) fn push(&mut self, tokenizer: &Tokenizer, token: u32) -> Option<String> {
        let step = step_decode_stream(
            tokenizer,
            vec![token],
            true,
            &mut self.ids,
            &mut self.prefix,
            &mut self.prefix_index,
        );
        match step {
            Ok(Some(text)) => Some(text),
            Ok(None) if self.ids.len() - self.prefix_index < HELD_TOKENS => None,
            // Too many, or a tokenizer whose text of some tokens does not begin with the text of fewer.
            Ok(None) | Err(_) => Some(self.flush(tokenizer)),
        }
    }

    /// What is held back, with `U+FFFD` for bytes that are no character. The next token begins anew.
    pub(crate) fn flush(&mut self, tokenizer: &Tokenizer) -> String {
        let all = tokenizer.decode(&self.ids, true).unwrap_or_default();
        let rest = match all.strip_prefix(&*self.prefix) {
            Some(rest) => rest.to_owned(),
            None => {
                let held = self.ids.get(self.prefix_index..).unwrap_or_default();
                tokenizer.decode(held, true).unwrap_or_default()
            }
        };
        // The last tokens stay as context: whether a space comes before a word depends on them.
        self.ids.drain(..self.prefix_index.min(self.ids.len()));
        self.prefix = tokenizer.decode(&self.ids, true).unwrap_or_default();
        self.prefix_index = self.ids.len();
        rest
    }
}
