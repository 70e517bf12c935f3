//! `POST /v1/chat/completions` and `POST /v1/completions`: from the request to running choices, then the answer in one
//! piece. Streams are in `stream`.
use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    http::HeaderMap,
    response::{IntoResponse as _, Response},
};
use futures_util::StreamExt as _;
use uuid::Uuid;

use super::{
    Api, Body, blocking, now,
    running::{Plan, Running, no_end, start},
    stream,
};
use crate::{
    answer::{Chat, Completion, Form, Heading},
    error::ApiError,
    model::{FinishReason, Generated, ModelError, TextModel, TokenLogProb},
    request::{ChatRequest, CompletionRequest, Controls, parse},
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
    let running = start(model, &heading.model, prompts, plan, default_max_tokens)?;
    match stream {
        Some(usage) => stream::begin::<F>(running, heading, usage).await,
        None => whole::<F>(running, &heading).await,
    }
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
            Generated::Begun(_) => {}
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
