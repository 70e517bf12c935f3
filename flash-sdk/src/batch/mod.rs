//! Calls of a `#[batch]` method, gathered and run together.
//!
//! `line` holds the calls that wait and decides which of them run next: pure,
//! without a clock of its own. `batcher` runs the batches of one method and gives each caller its own result. It leaves
//! to the caller's [`Context`](crate::Context) when a call ends early.
mod batcher;
mod line;
#[cfg(test)]
mod tests;

pub use batcher::{Batcher, RunBatch, batch_cost};
