//! The log of an environment, stored on disk and searchable.
//!
//! It manages a directory of segments: files with one JSON object per line, named by an increasing number. Only the
//! newest one is written. It does not know who prints a line or who may read it.
//!
//! Guarantees: lines are in order of arrival; a line is complete; a query returns no line twice and skips none, even
//! across segments.
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
pub(crate) use line::of_release;
pub use line::{LogLine, LogStream, Sink};
pub use query::Records;
pub use record::LogRecord;
pub use search::{LogLevel, LogQuery, SearchError, Selected, Tail, compile_search};
pub use select::LogMatcher;
pub use store::LogStore;
