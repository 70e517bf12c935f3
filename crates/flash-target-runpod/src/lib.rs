//! Runpod's cloud as a target.
//!
//! The cloud holds the state: worker types are serverless endpoints, found by name; releases are templates that
//! record them. Only the key is stored on this machine ([`account`]). [`rest`] calls the provider's REST API; `names`,
//! `desired`, `reconcile`, `pools` and `checks` decide without I/O; `ledger` is the record of releases. `change` deploys
//! releases, `view` reports what exists, `logs` what workers print, `costs` what was spent, `preflight` what would stand
//! in the way of a release. `target` is what commands can ask for.
//!
//! `flash-cli` decides what a release consists of and pushes its images before it is sent.
#![warn(unreachable_pub)]

pub mod account;
mod change;
mod checks;
mod costs;
mod desired;
#[cfg(test)]
mod fixtures;
mod ledger;
mod logs;
mod names;
mod pools;
mod preflight;
mod reconcile;
mod releases;
pub mod rest;
mod scale;
mod target;
mod urls;
mod view;

pub use target::RunpodTarget;
