//! `flash logs`: the logs of an environment's workers and of the platform.
//!
//! `arguments` holds the arguments, `query` turns them into a query and rejects contradictions, `command` prints. The
//! target decides which lines match.
mod arguments;
mod command;
mod query;

pub(super) use arguments::LogsArguments;
