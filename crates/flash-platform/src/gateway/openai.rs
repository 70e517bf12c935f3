//! OpenAI's API: `/v1/…` for the models of all worker types, and `/v2/ENDPOINT/openai/v1/…` for those of one.
//!
//! Which models there are is in the manifest, so `/v1/models` and a request for an unknown model wake no worker. The
//! model in the body says which worker type gets a request; everything else about it is the worker's.
use std::sync::Arc;

use axum::{
    Extension, Json,
    body::Body,
    extract::{Request, State},
    response::{IntoResponse as _, Response},
};
use flash_protocol::{
    ErrorKind, FieldError, WireError,
    manifest::{Manifest, OPENAI_HEALTH, OPENAI_PREFIX, WorkerType},
};
use flash_text::Truncated;
use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::{
    coding::check_coding, costs, error::Refusal, proxy, request_id::RequestId, state::GatewayState,
    submission::Arrived,
};
use crate::{large_input::work_on, release::Release};

/// What is between the endpoint and a path, in Runpod's convention.
const OF_ENDPOINT: &str = "/openai";

/// The paths that take a model, below the prefix.
const OF_A_MODEL: [&str; 3] = ["/chat/completions", "/completions", "/embeddings"];

/// Whether errors at this path have OpenAI's shape.
pub(super) fn speaks_at(state: &GatewayState, path: &str) -> bool {
    let has_models =
        || state.releases.live().is_some_and(|release| release.manifest.models().next().is_some());
    (below_endpoint(path).is_some() || below(path, OPENAI_PREFIX).is_some()) && has_models()
}

/// The endpoint, and the path as its worker knows it.
fn below_endpoint(path: &str) -> Option<(&str, &str)> {
    let (endpoint, rest) = path.strip_prefix("/v2/")?.split_once('/')?;
    let path = &path[path.len() - rest.len() - 1..];
    below(path, OF_ENDPOINT).map(|path| (endpoint, path))
}

/// The rest of a path below a prefix, by whole segments.
fn below<'a>(path: &'a str, prefix: &str) -> Option<&'a str> {
    path.strip_prefix(prefix).filter(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// `/v2/ENDPOINT/openai/…`
pub(super) async fn of_endpoint(
    State(state): State<Arc<GatewayState>>,
    Extension(id): Extension<RequestId>,
    request: Request,
) -> Response {
    let mut response = answer_of_endpoint(&state, id.as_str(), request).await.into_response();
    costs::say(&state.billing, id.as_str(), &mut response);
    response
}

async fn answer_of_endpoint(state: &GatewayState, id: &str, request: Request) -> Result<Response, Refusal> {
    let release = state.live()?;
    let whole = request.uri().path().to_owned();
    let Some((endpoint, path)) = below_endpoint(&whole) else { return Err(unknown_path(&whole)) };
    let worker = release.manifest.worker(endpoint).filter(|worker| worker.serves_models());
    let Some(worker) = worker else {
        let endpoint = Truncated(endpoint);
        return Err(Refusal::not_found(format!("`{endpoint}` is no worker type that serves models")));
    };
    answer(state, &release, Some(worker), id, path, request).await
}

/// Answers a request for the models of one worker type, or of all.
pub(super) async fn answer(
    state: &GatewayState,
    release: &Release,
    only: Option<&WorkerType>,
    id: &str,
    path: &str,
    request: Request,
) -> Result<Response, Refusal> {
    let models = Models { manifest: &release.manifest, only };
    let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
    if path == OPENAI_HEALTH {
        return match is_read {
            true => Ok(StatusCode::OK.into_response()),
            false => Err(wrong_method(&request, "GET, HEAD")),
        };
    }
    let Some(below) = below(path, OPENAI_PREFIX) else { return Err(unknown_path(path)) };
    if below == "/models" || below.starts_with("/models/") {
        if !is_read {
            return Err(wrong_method(&request, "GET, HEAD"));
        }
        let created = release.created;
        return match below.strip_prefix("/models/") {
            None => Ok(Json(models.list(created)).into_response()),
            Some(name) => models.one(&decoded(name), created).map(|model| Json(model).into_response()),
        };
    }
    if !OF_A_MODEL.contains(&below) {
        return Err(unknown_path(path));
    }
    if request.method() != Method::POST {
        return Err(wrong_method(&request, "POST"));
    }
    forward(state, release, &models, id, path, request).await
}

/// Sends a request to a worker of the type that has its model.
async fn forward(
    state: &GatewayState,
    release: &Release,
    models: &Models<'_>,
    id: &str,
    path: &str,
    request: Request,
) -> Result<Response, Refusal> {
    let (head, body) = request.into_parts();
    check_coding(&head.headers)?;
    // Held until a worker answers: the body is in memory for as long.
    let arrived = Arrived::read(&state.budget, body, models.max_body_bytes()).await?;
    let worker = models.find(&work_on(arrived.body.len(), || model_of(&arrived.body))?)?.name.clone();
    let request = Request::from_parts(head, Body::from(arrived.body.clone()));
    proxy::to_worker_type(release, &worker, None, id, path, request).await
}

/// The model that a body asks for.
fn model_of(body: &[u8]) -> Result<String, Refusal> {
    /// Everything else is for the worker.
    #[derive(serde::Deserialize)]
    struct Asked {
        model: Option<Value>,
    }
    let asked: Asked = serde_json::from_slice(body).map_err(|error| {
        let fault = flash_protocol::wire::fault(&error);
        Refusal::bad_request(format!("the body is not valid JSON: {fault}"))
    })?;
    match asked.model {
        Some(Value::String(model)) => Ok(model),
        None | Some(Value::Null) => {
            Err(about_model(StatusCode::BAD_REQUEST, ErrorKind::InvalidInput, "the body has no `model`"))
        }
        Some(_) => Err(about_model(StatusCode::BAD_REQUEST, ErrorKind::InvalidInput, "`model` is no text")),
    }
}

/// The models that a request may ask for.
struct Models<'a> {
    manifest: &'a Manifest,
    /// `None` for those of all worker types.
    only: Option<&'a WorkerType>,
}

impl<'a> Models<'a> {
    fn all(&self) -> impl Iterator<Item = (&'a str, &'a WorkerType)> {
        let only = self.only.map(|worker| worker.name.as_str());
        self.manifest.models().filter(move |(_, worker)| only.is_none_or(|only| worker.name == only))
    }

    fn list(&self, created: u64) -> Value {
        let data: Vec<Value> = self.all().map(|(name, _)| model(name, created)).collect();
        json!({ "object": "list", "data": data })
    }

    fn one(&self, name: &str, created: u64) -> Result<Value, Refusal> {
        self.find(name).map(|_| model(name, created))
    }

    /// The worker type that has a model.
    ///
    /// # Errors
    /// 404 with the names of those that are there.
    fn find(&self, name: &str) -> Result<&'a WorkerType, Refusal> {
        if let Some((_, worker)) = self.all().find(|(own, _)| *own == name) {
            return Ok(worker);
        }
        let there: Vec<&str> = self.all().map(|(name, _)| name).collect();
        let message =
            format!("the model `{}` does not exist; there are: {}", Truncated(name), there.join(", "));
        Err(about_model(StatusCode::NOT_FOUND, ErrorKind::NotFound, &message).coded("model_not_found"))
    }

    /// The largest body that one of them takes; its worker type's own limit is checked when it is sent there.
    fn max_body_bytes(&self) -> usize {
        self.all().map(|(_, worker)| worker.max_body_bytes()).max().unwrap_or(WorkerType::DEFAULT_BODY_BYTES)
    }
}

fn model(name: &str, created: u64) -> Value {
    json!({ "id": name, "object": "model", "created": created, "owned_by": "flash" })
}

/// An error about the field `model`.
fn about_model(status: StatusCode, kind: ErrorKind, message: &str) -> Refusal {
    let mut error = WireError::new(kind, message);
    error.fields = vec![FieldError::new("/model", message)];
    Refusal::of(status, error)
}

fn unknown_path(path: &str) -> Refusal {
    Refusal::not_found(format!(
        "no route at {}; there are /v1/models, /v1/chat/completions, /v1/completions and /v1/embeddings",
        Truncated(path)
    ))
}

fn wrong_method(request: &Request, allowed: &str) -> Refusal {
    Refusal::method_not_allowed(request.method(), request.uri().path(), allowed.to_owned())
}

/// A segment as it was before its characters were escaped; itself if that was no text.
fn decoded(segment: &str) -> String {
    percent_encoding::percent_decode_str(segment)
        .decode_utf8()
        .map_or_else(|_| segment.to_owned(), std::borrow::Cow::into_owned)
}
