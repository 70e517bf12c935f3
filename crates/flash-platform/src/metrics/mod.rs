//! The state and the counts of a platform as metrics, in Prometheus' text format.
//!
//! [`numbers`] says which numbers there are; [`text`] gives them names, types and help, and writes them. Both know nothing
//! of HTTP. `docs/metrics.md` documents each name.
mod numbers;
mod text;

pub(crate) use numbers::TypeNumbers;
pub(crate) use text::{CONTENT_TYPE, render};
