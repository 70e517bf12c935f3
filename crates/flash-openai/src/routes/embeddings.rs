//! `POST /v1/embeddings`.
use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    response::{IntoResponse as _, Response},
};

use super::{Api, Body};
use crate::{
    answer,
    error::ApiError,
    host::{Ended, Watched},
    model::{ModelError, Usage},
    request::{EmbeddingRequest, parse},
};

pub(super) async fn embeddings(State(api): State<Arc<Api>>, body: Body) -> Result<Response, ApiError> {
    let request: EmbeddingRequest = parse(&body.0)?;
    drop(body);
    let model = api.models.embedding(&request.model)?;
    let dimensions = request.dimensions(model.dimensions(), model.can_shorten())?;
    let texts = request.texts()?;
    let count = texts.len();
    let mut watched = Watched::new(&request.model, 0);
    let mut embeddings = match model.embed(texts).await {
        Ok(embeddings) => embeddings,
        Err(error) => {
            watched.end(Ended::Error, Usage::default());
            return Err(error.into());
        }
    };
    let prompt_tokens = embeddings.iter().map(|embedding| embedding.tokens).sum();
    watched.end(Ended::Stop, Usage { prompt_tokens, ..Usage::default() });
    if embeddings.len() != count {
        let message = format!("the model made {} embeddings of {count} texts", embeddings.len());
        return Err(ModelError::internal(message).into());
    }
    for embedding in &mut embeddings {
        embedding.vector = answer::shortened(std::mem::take(&mut embedding.vector), dimensions);
    }
    Ok(Json(answer::embeddings(&request.model, &embeddings, request.encoding())).into_response())
}
