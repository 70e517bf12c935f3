//! `POST /v1/completions`.
use serde::Deserialize;

use super::{MAX_CHOICES, sampling::unsupported, texts::Texts, within};
use crate::error::ApiError;

/// Tokens of an answer, unless the client says. Of this route alone.
const DEFAULT_MAX_TOKENS: usize = 16;

/// The fields that only completions have.
#[derive(Debug, Deserialize)]
pub(crate) struct CompletionRequest {
    pub(crate) model: String,
    prompt: Texts,
    n: Option<usize>,
    best_of: Option<usize>,
    logprobs: Option<usize>,
    echo: Option<bool>,
    suffix: Option<String>,
}

impl CompletionRequest {
    pub(crate) const DEFAULT_MAX_TOKENS: usize = DEFAULT_MAX_TOKENS;

    /// The texts to continue.
    ///
    /// # Errors
    /// If there is none, or it is not text, or the request asks for what is not implemented.
    pub(crate) fn prompts(&self) -> Result<Vec<String>, ApiError> {
        self.check_unsupported()?;
        let prompts = match &self.prompt {
            Texts::Of(prompts) => prompts.clone(),
            Texts::Tokens => {
                return Err(ApiError::invalid(
                    "prompt",
                    "`prompt` has token ids, which differ from model to model: send text (in lm-eval, set \
                     `tokenized_requests=False`)",
                ));
            }
        };
        if prompts.is_empty() || prompts.iter().any(String::is_empty) {
            return Err(ApiError::invalid("prompt", "`prompt` is empty: send a text to continue"));
        }
        if prompts.len() > MAX_CHOICES {
            let message = format!("`prompt` has {} texts, but at most {MAX_CHOICES}", prompts.len());
            return Err(ApiError::invalid("prompt", message));
        }
        Ok(prompts)
    }

    /// How many alternatives to each token the answer lists; `None` for no log probabilities.
    ///
    /// # Errors
    /// If they are too many.
    pub(crate) fn logprobs(&self) -> Result<Option<usize>, ApiError> {
        within("logprobs", self.logprobs, 0..=20)
    }

    fn check_unsupported(&self) -> Result<(), ApiError> {
        if self.echo.unwrap_or(false) {
            return Err(unsupported("echo", "leave it out, and put the prompt in front of the answer"));
        }
        if self.suffix.as_ref().is_some_and(|suffix| !suffix.is_empty()) {
            return Err(unsupported("suffix", "leave it out"));
        }
        if self.best_of.is_some_and(|best_of| best_of != self.n.unwrap_or(1)) {
            return Err(unsupported("best_of", "ask for `n` answers and choose one"));
        }
        Ok(())
    }
}
