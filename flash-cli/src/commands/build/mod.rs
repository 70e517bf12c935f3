//! `flash build`: builds one image per worker type, without a container daemon.
//!
//! `command` holds the arguments and prints the summary; `crate::builder` does the work.
mod command;

pub(super) use command::BuildArguments;
