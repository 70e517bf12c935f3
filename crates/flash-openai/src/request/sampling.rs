//! What chat and completions have in common: sampling, choices, streaming.
use serde::Deserialize;
use serde_json::Value;

use super::{MAX_CHOICES, texts::Texts, within};
use crate::{error::ApiError, model::Sampling};

const MAX_STOPS: usize = 4;
/// Over this, a stop string is a mistake: a model holds as much text back.
const MAX_STOP_BYTES: usize = 1024;

/// The fields that chat and completions share.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Controls {
    max_tokens: Option<u64>,
    max_completion_tokens: Option<u64>,
    temperature: Option<f32>,
    top_p: Option<f32>,
    seed: Option<i64>,
    n: Option<usize>,
    stop: Option<Texts>,
    ignore_eos: Option<bool>,
    frequency_penalty: Option<f32>,
    presence_penalty: Option<f32>,
    /// Not OpenAI's; clients of vLLM send it. 0 and -1 are all tokens.
    top_k: Option<i64>,
    /// Not OpenAI's; clients of vLLM send it.
    repetition_penalty: Option<f32>,
    logit_bias: Option<serde_json::Map<String, Value>>,
    stream: Option<bool>,
    stream_options: Option<StreamOptions>,
}

#[derive(Debug, Deserialize)]
struct StreamOptions {
    include_usage: Option<bool>,
    continuous_usage_stats: Option<bool>,
}

/// Which chunks of a stream say how many tokens there were.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum UsageInStream {
    /// None.
    Never,
    /// A last one without choices.
    AtEnd,
    /// That one, and every other so far.
    Always,
}

impl Controls {
    /// The choices of each prompt.
    ///
    /// # Errors
    /// If they are none, or too many with those of the other prompts.
    pub(crate) fn choices(&self, prompts: usize) -> Result<usize, ApiError> {
        let n = self.n.unwrap_or(1);
        within("n", Some(n), 1..=(MAX_CHOICES / prompts.max(1)).max(1)).map(|_| n)
    }

    /// How to sample. `max_tokens` is `None` if the client leaves it to the model.
    ///
    /// # Errors
    /// If a value is outside its limits, or asks for what is not implemented.
    pub(crate) fn sampling(&self, logprobs: Option<usize>) -> Result<(Option<usize>, Sampling), ApiError> {
        let (name, limit) = match self.max_completion_tokens {
            Some(limit) => ("max_completion_tokens", Some(limit)),
            None => ("max_tokens", self.max_tokens),
        };
        if limit == Some(0) {
            return Err(ApiError::invalid(name, format!("`{name}` is 0, but must be at least 1")));
        }
        let top_p = within("top_p", self.top_p, 0.0..=1.0)?.unwrap_or(1.0);
        let sampling = Sampling {
            temperature: within("temperature", self.temperature, 0.0..=2.0)?.unwrap_or(1.0),
            // Of nothing, the most likely token is left.
            top_p: top_p.max(f32::MIN_POSITIVE),
            top_k: self.top_k()?,
            frequency_penalty: within("frequency_penalty", self.frequency_penalty, -2.0..=2.0)?
                .unwrap_or(0.0),
            presence_penalty: within("presence_penalty", self.presence_penalty, -2.0..=2.0)?.unwrap_or(0.0),
            repetition_penalty: within("repetition_penalty", self.repetition_penalty, 0.01..=10.0)?
                .unwrap_or(1.0),
            // Any number is a seed.
            seed: self.seed.map(i64::cast_unsigned),
            stop: self.stops()?,
            ignore_eos: self.ignore_eos.unwrap_or(false),
            logprobs,
            ..Sampling::new(1)
        };
        self.check_unsupported()?;
        Ok((limit.map(|limit| usize::try_from(limit).unwrap_or(usize::MAX)), sampling))
    }

    fn top_k(&self) -> Result<Option<usize>, ApiError> {
        Ok(match within("top_k", self.top_k, -1..=1_000_000)? {
            None | Some(..=0) => None,
            Some(count) => Some(usize::try_from(count).unwrap_or(usize::MAX)),
        })
    }

    fn stops(&self) -> Result<Vec<String>, ApiError> {
        let stops = match &self.stop {
            None => Vec::new(),
            Some(Texts::Of(stops)) => stops.clone(),
            Some(Texts::Tokens) => {
                return Err(ApiError::invalid("stop", "`stop` has numbers: send texts"));
            }
        };
        let wrong = match () {
            () if stops.len() > MAX_STOPS => {
                format!("`stop` has {} strings, but at most {MAX_STOPS}", stops.len())
            }
            () if stops.iter().any(String::is_empty) => "a string of `stop` is empty".to_owned(),
            () if stops.iter().any(|stop| stop.len() > MAX_STOP_BYTES) => {
                format!("a string of `stop` has more than {MAX_STOP_BYTES} bytes")
            }
            () => return Ok(stops),
        };
        Err(ApiError::invalid("stop", wrong))
    }

    /// What changes answers must not be ignored.
    fn check_unsupported(&self) -> Result<(), ApiError> {
        if self.logit_bias.as_ref().is_some_and(|bias| !bias.is_empty()) {
            return Err(unsupported("logit_bias", "leave it out"));
        }
        Ok(())
    }

    /// `None` for an answer in one piece.
    pub(crate) fn stream(&self) -> Option<UsageInStream> {
        if !self.stream.unwrap_or(false) {
            return None;
        }
        let options = self.stream_options.as_ref();
        let is_set = |option: fn(&StreamOptions) -> Option<bool>| options.and_then(option).unwrap_or(false);
        Some(
            match (is_set(|options| options.include_usage), is_set(|options| options.continuous_usage_stats))
            {
                (true, true) => UsageInStream::Always,
                (true, false) => UsageInStream::AtEnd,
                (false, _) => UsageInStream::Never,
            },
        )
    }
}

/// 400 for what clients may ask for and no model here does.
pub(super) fn unsupported(name: &str, instead: &str) -> ApiError {
    ApiError::invalid(name, format!("`{name}` is not supported: {instead}"))
}
