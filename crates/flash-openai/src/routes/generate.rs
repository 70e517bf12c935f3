//! `POST /v1/chat/completions` and `POST /v1/completions`: from the request to running choices, then the answer in one
//! piece. Streams are in `stream`.
use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    http::HeaderMap,
    response::{IntoResponse as _, Response},
};
use futures_util::{
    StreamExt as _,
    stream::{SelectAll, select_all},
};
use uuid::Uuid;

use super::{Api, Body, blocking, now, stream};
use crate::{
    answer::{Chat, Completion, Form, Heading, Totals},
    error::ApiError,
    model::{FinishReason, Generated, Generation, ModelError, Sampling, TextModel, TokenLogProb},
    request::{ChatRequest, CompletionRequest, Controls, UsageInStream, parse},
};

/// The header by which the platform names a request.
const REQUEST_ID: &str = "x-request-id";

pub(super) async fn chat(
    State(api): State<Arc<Api>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let request: ChatRequest = parse(&body.0)?;
    let controls: Controls = parse(&body.0)?;
    drop(body);
    let model = api.models.text(&request.model)?;
    let messages = request.messages()?;
    let plan = Plan::new(&controls, request.logprobs()?, 1)?;
    let prompt = {
        let model = model.clone();
        blocking(move || model.chat_prompt(&messages)).await.map_err(|error| at(error, "messages"))?
    };
    let heading = heading::<Chat>(request.model, &headers);
    answer::<Chat>(&*model, vec![prompt], plan, heading, None).await
}

pub(super) async fn completions(
    State(api): State<Arc<Api>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let request: CompletionRequest = parse(&body.0)?;
    let controls: Controls = parse(&body.0)?;
    drop(body);
    let model = api.models.text(&request.model)?;
    let texts = request.prompts()?;
    let plan = Plan::new(&controls, request.logprobs()?, texts.len())?;
    let prompts = {
        let model = model.clone();
        let encode = move || texts.iter().map(|text| model.text_prompt(text)).collect::<Result<Vec<_>, _>>();
        blocking(encode).await.map_err(|error| at(error, "prompt"))?
    };
    let heading = heading::<Completion>(request.model, &headers);
    let default = Some(CompletionRequest::DEFAULT_MAX_TOKENS);
    answer::<Completion>(&*model, prompts, plan, heading, default).await
}

/// What is done with each prompt.
struct Plan {
    max_tokens: Option<usize>,
    sampling: Sampling,
    /// Choices of each prompt.
    n: usize,
    /// `None` for an answer in one piece.
    stream: Option<UsageInStream>,
}

impl Plan {
    fn new(controls: &Controls, logprobs: Option<usize>, prompts: usize) -> Result<Self, ApiError> {
        let (max_tokens, sampling) = controls.sampling(logprobs)?;
        Ok(Self { max_tokens, sampling, n: controls.choices(prompts)?, stream: controls.stream() })
    }
}

/// An error of a prompt is about the field that it came from, unless the model says otherwise.
fn at(error: ModelError, param: &'static str) -> ModelError {
    match error.param() {
        Some(_) => error,
        None => error.with_param(param),
    }
}

fn heading<F: Form>(model: String, headers: &HeaderMap) -> Heading {
    let id = headers.get(REQUEST_ID).and_then(|id| id.to_str().ok()).map(str::to_owned);
    let id = id.unwrap_or_else(|| Uuid::new_v4().simple().to_string());
    Heading { id: format!("{}{id}", F::ID), created: now(), model }
}

/// Choices that run, as their items come.
pub(super) struct Running {
    pub(super) items: SelectAll<Choice>,
    pub(super) totals: Totals,
    pub(super) choices: usize,
    pub(super) has_logprobs: bool,
}

/// The items of one choice, with its index. Dropping it cancels the choice.
type Choice = futures_util::stream::BoxStream<'static, (usize, Result<Generated, ModelError>)>;

async fn answer<F: Form + 'static>(
    model: &dyn TextModel,
    prompts: Vec<Vec<u32>>,
    plan: Plan,
    heading: Heading,
    default_max_tokens: Option<usize>,
) -> Result<Response, ApiError>
where
    F::Choice: Send,
{
    let stream = plan.stream;
    let running = start(model, prompts, plan, default_max_tokens)?;
    match stream {
        Some(usage) => stream::begin::<F>(running, heading, usage).await,
        None => whole::<F>(running, &heading).await,
    }
}

/// Starts all choices, if every prompt fits the context.
fn start(
    model: &dyn TextModel,
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
            let generating = model.generate(Generation { prompt: prompt.clone(), sampling });
            choices.push(generating.map(move |item| (index, item)).boxed());
        }
    }
    let totals = Totals::new(prompt_tokens, choices.len());
    Ok(Running { choices: choices.len(), items: select_all(choices), totals, has_logprobs })
}

/// What a choice has so far.
#[derive(Default)]
struct Collected {
    text: String,
    logprobs: Vec<TokenLogProb>,
    end: Option<FinishReason>,
}

async fn whole<F: Form>(mut running: Running, heading: &Heading) -> Result<Response, ApiError> {
    let mut choices: Vec<Collected> =
        std::iter::repeat_with(Collected::default).take(running.choices).collect();
    while let Some((index, item)) = running.items.next().await {
        let item = item?;
        running.totals.count(index, &item);
        match item {
            Generated::Piece(piece) => {
                choices[index].text.push_str(&piece.text);
                choices[index].logprobs.extend(piece.logprobs);
            }
            Generated::End(end) => choices[index].end = Some(end.finish_reason),
        }
    }
    let mut written = Vec::with_capacity(choices.len());
    for (index, choice) in choices.into_iter().enumerate() {
        let end = choice.end.ok_or_else(no_end)?;
        let logprobs = running.has_logprobs.then_some(choice.logprobs.as_slice());
        written.push(F::choice(index, &choice.text, logprobs, end));
    }
    let mut answer = heading.answer(F::OBJECT, written);
    answer["usage"] = running.totals.to_json();
    Ok(Json(answer).into_response())
}

/// The error of a model that stops in the middle.
pub(super) fn no_end() -> ModelError {
    ModelError::internal("the model ended an answer without saying why")
}
