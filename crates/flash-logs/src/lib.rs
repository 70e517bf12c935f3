//! Log lines on their way, and the log of an environment, stored on disk and searchable.
//!
//! On its way, a line is a `line`; it waits in `line_buffer` for `writer`, the thread that writes. On disk, the log is a
//! directory of segments: files with one JSON object per line, named by an increasing number, of which only the newest
//! is written. `segment` names, lists and repairs them, `record` is a line in one, `limits` says how much is kept.
//! `search` says which lines are asked for, `select` matches them, and `query` finds them and follows the log. `store`
//! is the handle of it all. Who prints a line or may read it is not known here.
//!
//! Guarantees: lines are in order of arrival; a line is complete; a query returns no line twice and skips none, even
//! across segments.#![warn(unreachable_pub)]

mod limits;
mod line;
mod line_buffer;
mod query;
mod record;
mod search;
mod segment;
mod select;
mod store;
#[cfg(test)]
mod tests;
mod writer;

pub use limits::LogLimits;
pub use line::{LogLine, LogStream, Sink, SpanIds, of_release};
pub use query::Records;
pub use record::LogRecord;
pub use search::{LogLevel, LogQuery, SearchError, Selected, Tail, compile_search};
pub use select::LogMatcher;
pub use store::LogStore;

#[cfg(test)]
flash_test_support::fuzz_tests!("log_record");
