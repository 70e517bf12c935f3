//! Runpod's cloud as a target.
//!
//! The cloud is the state: worker types are serverless endpoints, found by name; releases are templates that
//! hold what each one was. Nothing is kept on this machine but the key. [`rest`] speaks the provider's REST API;
//! [`names`], [`desired`], [`reconcile`], [`pools`] and [`checks`] decide without asking anybody.
pub(crate) mod checks;
pub(crate) mod desired;
#[cfg(test)]
mod fixtures;
pub(crate) mod names;
pub(crate) mod pools;
pub(crate) mod reconcile;
pub(crate) mod rest;
