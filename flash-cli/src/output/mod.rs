//! Everything that `flash` prints. Data goes to stdout, everything else to stderr; color only on a terminal.
//!
//! With `--json`, each line on stdout is one JSON object with an `event`. Lints forbid printing elsewhere. A closed
//! pipe is a normal end: it only stops the printing. A paused reader (`less`, Ctrl-S) must not stop the platform:
//! lines go through bounded queues to one writing thread per stream, and excess log lines are dropped and counted.
//!
//! `printer` has what commands call; `writer` is the queue and its thread; the other files make texts of what they are
//! named for.
mod colour;
mod endpoint;
mod format;
mod log_text;
mod mark;
mod printer;
mod progress;
mod table;
mod writer;

pub(crate) use endpoint::Endpoint;
pub(crate) use format::Format;
pub(crate) use mark::FindingMark;
pub(crate) use printer::Output;
pub(crate) use progress::{Progress, size};
