//! A web API with an axum router, and a worker of its own for what takes long.
pub mod text;
pub mod web;
