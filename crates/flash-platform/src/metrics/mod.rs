//! The state and the counts of a platform as metrics, in Prometheus' text format.
//!
//! [`numbers`] says which numbers there are, and [`process`] those of this process. [`workers`], [`models`],
//! [`gpus`] and [`platform`] give them names, types and help; [`family`] is one metric, and [`text`] writes all. None of them knows HTTP.
//! [`app`] has those of the app's own, which workers report.
//! Other labels are names of a manifest, of models and of GPUs, never what a client sends. `docs/metrics.md` documents each name.
mod app;
mod family;
mod gpus;
mod models;
mod numbers;
mod platform;
mod process;
mod text;
mod workers;

pub(crate) use numbers::{Numbers, TypeNumbers};
pub(crate) use process::ProcessNumbers;
pub(crate) use text::{CONTENT_TYPE, render};
