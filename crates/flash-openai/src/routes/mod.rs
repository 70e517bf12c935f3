//! The routes, around models.
mod embeddings;
mod generate;
mod models;
mod running;
mod stream;

use std::{
    panic::AssertUnwindSafe,
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use axum::{
    Router,
    extract::{FromRequest, Request},
    http::StatusCode,
    middleware::{self, Next},
    response::{IntoResponse as _, Response},
    routing::{get, post},
};
use bytes::Bytes;
use futures_util::FutureExt as _;

use crate::{error::ApiError, model::ModelError, served::Served};

/// What all routes share.
#[derive(Debug)]
struct Api {
    models: Served,
    /// When the models were loaded, in seconds since 1970.
    loaded: u64,
}

pub(crate) fn router(models: Served) -> Router {
    let api = Arc::new(Api { models, loaded: now() });
    Router::new()
        .route("/health", get(|| async { StatusCode::OK }))
        .route("/v1/models", get(models::list))
        .route("/v1/models/{*name}", get(models::one))
        .route("/v1/chat/completions", post(generate::chat))
        .route("/v1/completions", post(generate::completions))
        .route("/v1/embeddings", post(embeddings::embeddings))
        .fallback(|request: Request| async move { ApiError::unknown_path(request.uri().path()) })
        .method_not_allowed_fallback(|request: Request| async move {
            ApiError::wrong_method(request.method().as_str(), request.uri().path())
        })
        .layer(middleware::from_fn(caught))
        .with_state(api)
}

/// A model that panics is a model that failed.
async fn caught(request: Request, next: Next) -> Response {
    match AssertUnwindSafe(next.run(request)).catch_unwind().await {
        Ok(response) => response,
        Err(_) => ApiError::from(panicked()).into_response(),
    }
}

/// The error of a model that panicked. What it said is in the log of its worker.
fn panicked() -> ModelError {
    ModelError::internal("the model panicked")
}

/// Seconds since 1970.
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// The whole body, whatever type the client says it has.
struct Body(Bytes);

impl<S: Send + Sync> FromRequest<S> for Body {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        match Bytes::from_request(request, state).await {
            Ok(bytes) => Ok(Self(bytes)),
            Err(rejection) => Err(ApiError::unread(rejection.status(), rejection.body_text())),
        }
    }
}

/// Runs what may take milliseconds beside the tasks that answer others. A panic goes on in the caller.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(value) => value,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}
