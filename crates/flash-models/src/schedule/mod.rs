//! Many generations over one model, on a thread of its own.
//!
//! [`plan::Scheduler`] decides who is admitted and who computes next; it knows no model and no clock. [`runner::Runner`]
//! carries that out: it feeds the engine, samples, and sends what comes. [`line::Line`] is where requests wait.
mod line;
mod plan;
mod prefixes;
mod reply;
mod runner;
mod shortage;
#[cfg(test)]
mod tests;
mod wake;

pub(crate) use line::Line;
pub(crate) use plan::Limits;
pub(crate) use runner::Runner;
