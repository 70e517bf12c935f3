//! `GET /v1/models`.
use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State},
};
use serde_json::{Value, json};

use super::Api;
use crate::error::ApiError;

pub(super) async fn list(State(api): State<Arc<Api>>) -> Json<Value> {
    let data: Vec<Value> = api.models.names().map(|name| model(name, api.loaded)).collect();
    Json(json!({ "object": "list", "data": data }))
}

pub(super) async fn one(
    State(api): State<Arc<Api>>,
    Path(name): Path<String>,
) -> Result<Json<Value>, ApiError> {
    api.models.find(&name)?;
    Ok(Json(model(&name, api.loaded)))
}

fn model(name: &str, created: u64) -> Value {
    json!({ "id": name, "object": "model", "created": created, "owned_by": "flash" })
}
