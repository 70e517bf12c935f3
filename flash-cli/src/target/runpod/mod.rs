//! Runpod's cloud as a target.
//!
//! The cloud is the state: worker types are serverless endpoints, found by name; releases are templates that
//! hold what each one was. Nothing is kept on this machine but the key. [`rest`] speaks the provider's REST API;
//! [`ledger`] reads and writes the history.
mod ledger;
pub(crate) mod rest;
