//! `POST /v1/embeddings`.
use serde::Deserialize;

use super::texts::Texts;
use crate::error::ApiError;

const MAX_TEXTS: usize = 2048;

/// The whole request.
#[derive(Debug, Deserialize)]
pub(crate) struct EmbeddingRequest {
    pub(crate) model: String,
    input: Texts,
    encoding_format: Option<Encoding>,
    dimensions: Option<usize>,
}

/// How an answer has its vectors.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Encoding {
    /// A list of numbers.
    #[default]
    Float,
    /// The numbers as little-endian `f32`, in base64. What OpenAI's own clients ask for.
    Base64,
}

impl EmbeddingRequest {
    /// The texts.
    ///
    /// # Errors
    /// If there are none or too many, or one is empty or not text.
    pub(crate) fn texts(&self) -> Result<Vec<String>, ApiError> {
        let texts = match &self.input {
            Texts::Of(texts) => texts.clone(),
            Texts::Tokens => {
                return Err(ApiError::invalid(
                    "input",
                    "`input` has token ids of another model's tokenizer: send text (in LangChain, set \
                     `check_embedding_ctx_length=False` on `OpenAIEmbeddings`)",
                ));
            }
        };
        let wrong = match texts.len() {
            0 => "`input` is empty: send at least one text".to_owned(),
            1..=MAX_TEXTS => match texts.iter().position(String::is_empty) {
                None => return Ok(texts),
                Some(index) => format!("text {index} of `input` is empty"),
            },
            count => format!("`input` has {count} texts, but at most {MAX_TEXTS}: send several requests"),
        };
        Err(ApiError::invalid("input", wrong))
    }

    pub(crate) fn encoding(&self) -> Encoding {
        self.encoding_format.unwrap_or_default()
    }

    /// Numbers of each vector in the answer: all, or the first of them.
    ///
    /// # Errors
    /// If the model cannot shorten its vectors, or they are shorter.
    pub(crate) fn dimensions(&self, of_model: usize, can_shorten: bool) -> Result<usize, ApiError> {
        let wrong = match self.dimensions {
            None => return Ok(of_model),
            Some(asked) if asked == of_model => return Ok(of_model),
            Some(_) if !can_shorten => {
                format!("`dimensions` cannot be changed: vectors of this model have {of_model} numbers")
            }
            Some(asked) if (1..of_model).contains(&asked) => return Ok(asked),
            Some(asked) => format!("`dimensions` is {asked}, but must be from 1 to {of_model}"),
        };
        Err(ApiError::invalid("dimensions", wrong))
    }
}
