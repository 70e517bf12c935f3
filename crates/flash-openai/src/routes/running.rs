//! Choices from their start: what each prompt is asked for, and the items of all as they come.
use std::{panic::AssertUnwindSafe, sync::Arc};

use futures_util::{
    StreamExt as _, future,
    stream::{BoxStream, SelectAll, select_all},
};

use crate::{
    answer::Totals,
    error::ApiError,
    host::Watched,
    model::{Generated, Generation, ModelError, Sampling, TextModel},
    request::{Controls, UsageInStream},
};

/// What is done with each prompt.
pub(super) struct Plan {
    max_tokens: Option<usize>,
    sampling: Sampling,
    /// Choices of each prompt.
    n: usize,
    /// `None` for an answer in one piece.
    pub(super) stream: Option<UsageInStream>,
}

impl Plan {
    pub(super) fn new(
        controls: &Controls,
        logprobs: Option<usize>,
        prompts: usize,
    ) -> Result<Self, ApiError> {
        let (max_tokens, sampling) = controls.sampling(logprobs)?;
        Ok(Self { max_tokens, sampling, n: controls.choices(prompts)?, stream: controls.stream() })
    }
}

/// Choices that run, as their items come.
pub(super) struct Running {
    pub(super) items: SelectAll<Choice>,
    pub(super) totals: Totals,
    pub(super) choices: usize,
    pub(super) has_logprobs: bool,
}

/// The items of one choice, with its index. Dropping it cancels the choice.
type Choice = BoxStream<'static, (usize, Result<Generated, ModelError>)>;

/// Starts all choices, if every prompt fits the context.
pub(super) fn start(
    model: &dyn TextModel,
    name: &str,
    prompts: Vec<Vec<u32>>,
    plan: Plan,
    default_max_tokens: Option<usize>,
) -> Result<Running, ApiError> {
    let limit = model.context_length();
    let has_logprobs = plan.sampling.logprobs.is_some();
    let prompt_tokens = prompts.iter().map(Vec::len).sum();
    if let Some(prompt) = prompts.iter().find(|prompt| prompt.len() >= limit) {
        return Err(ModelError::context_length(prompt.len(), limit).into());
    }
    let mut choices: Vec<Choice> = Vec::with_capacity(prompts.len() * plan.n);
    for prompt in prompts {
        // What the client asks for beyond the context cannot come: the answer then ends with `length`.
        let room = limit - prompt.len();
        let max_tokens = plan.max_tokens.or(default_max_tokens).unwrap_or(room).min(room);
        let prompt: Arc<[u32]> = prompt.into();
        for nth in 0..plan.n as u64 {
            // Choices of one prompt differ, and come again with the same seed.
            let seed = plan.sampling.seed.map(|seed| seed.wrapping_add(nth));
            let sampling = Sampling { max_tokens, seed, ..plan.sampling.clone() };
            let index = choices.len();
            let mut watched = Watched::new(name, prompt.len());
            let generating = model.generate(Generation { prompt: prompt.clone(), sampling });
            // A panic ends this choice with an event, and not the connection.
            let items = AssertUnwindSafe(generating).catch_unwind();
            let items = items.map(|item| item.unwrap_or_else(|_| Err(super::panicked())));
            let items = items.filter_map(move |item| {
                watched.saw(&item);
                // It is no part of the answer: the status is open until a token is there, or an error.
                future::ready((!matches!(item, Ok(Generated::Begun(_)))).then_some((index, item)))
            });
            choices.push(items.boxed());
        }
    }
    let totals = Totals::new(prompt_tokens, choices.len());
    Ok(Running { choices: choices.len(), items: select_all(choices), totals, has_logprobs })
}

/// The error of a model that stops in the middle.
pub(super) fn no_end() -> ModelError {
    ModelError::internal("the model ended an answer without saying why")
}
