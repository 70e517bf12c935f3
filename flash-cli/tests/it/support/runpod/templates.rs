//! Templates: `/v2/templates`. They are snapshots: endpoints do not know them afterwards.
use serde_json::{Map, Value, json};

use super::{
    rest::Reply,
    state::{State, fields},
};

/// Of `GET /v2/templates`.
pub fn list(state: &State) -> Reply {
    let templates: Vec<&Map<String, Value>> = state.templates.values().collect();
    Reply::json(200, json!({ "templates": templates }))
}

pub fn create(state: &mut State, body: &Value) -> Reply {
    if let Some(refused) = unknown_registry(state, body) {
        return refused;
    }
    let id = state.id("tpl");
    let mut template = fields(json!({
        "args": "",
        "disk": 20,
        "mounts": {},
        "ports": [],
        "env": {},
        "registry": null,
        "serverless": false,
        "public": false,
        "category": "NVIDIA",
        "startSsh": true,
        "startJupyter": true,
        "allowedCudaVersions": [],
    }));
    template.extend(fields(body.clone()));
    template.insert("id".to_owned(), id.as_str().into());
    state.templates.insert(id.clone(), template.clone());
    Reply::json(201, template.into())
}

pub fn get(state: &State, id: &str) -> Reply {
    match state.templates.get(id) {
        Some(template) => Reply::json(200, template.clone().into()),
        None => Reply::not_found("template"),
    }
}

/// `env` is replaced as a whole, as all other fields are.
pub fn update(state: &mut State, id: &str, body: &Value) -> Reply {
    if let Some(refused) = unknown_registry(state, body) {
        return refused;
    }
    match state.templates.get_mut(id).filter(|template| template["public"] == false) {
        Some(template) => {
            template.extend(fields(body.clone()));
            Reply::json(200, template.clone().into())
        }
        None => Reply::not_found("template"),
    }
}

pub fn delete(state: &mut State, id: &str) -> Reply {
    match state.templates.get(id) {
        Some(template) if template["public"] == false => {
            state.templates.remove(id);
            Reply::empty()
        }
        _ => Reply::not_found("template"),
    }
}

/// An answer to a credential that is not there.
pub fn unknown_registry(state: &State, body: &Value) -> Option<Reply> {
    let registry = body.get("registry").and_then(Value::as_str)?;
    let is_known = state.registries.contains(registry);
    (!is_known)
        .then(|| Reply::problem(400, format!("registry credential '{registry}' was not found"), Vec::new()))
}
