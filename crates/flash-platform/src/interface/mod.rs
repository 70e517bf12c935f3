//! An app's interface over HTTP, made from its manifest once for each release: which path is which function, which
//! inputs a function takes, and the description of both as OpenAPI.
//!
//! It knows neither requests nor workers. The gateway asks it and answers.
mod openapi;
mod parts;
mod queue_operations;
mod routes;
mod schemas;

pub(crate) use openapi::render as render_openapi;
pub(crate) use routes::{NoRoute, RouteTable, Target};
pub(crate) use schemas::InputSchemas;
