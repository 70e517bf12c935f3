//! Lines of an environment's log, kept on disk and found again.
//!
//! Owns a directory of segments: files of one JSON object a line, named by a growing number, of which only the
//! newest is written. Who prints a line, and who may read it, is not known here.
//!
//! What the rest relies on: lines are in the order in which they came; a line is whole; what a query has given
//! is not given again, and nothing between is left out, over a change of segments too.
mod limits;
mod query;
mod record;
mod segment;
mod select;
mod store;
#[cfg(test)]
mod tests;
mod writer;

pub(crate) use limits::LogLimits;
pub(crate) use query::Records;
pub(crate) use select::LogMatcher;
pub(crate) use store::LogStore;

pub(crate) use crate::target::SearchError as QueryError;
