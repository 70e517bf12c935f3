//! `flash deploy` and `flash env`: environments and what is live in them.
//!
//! `command` selects a subcommand; each has a file. `artifact` is what a build makes for a target, `live` finishes a
//! release that has gone live, and `answers` checks that its endpoints do.
mod answers;
mod artifact;
mod command;
mod history;
mod info;
mod list;
mod live;
mod manifest;
mod new;
mod remove;
mod rollback;
mod send;
mod subcommand;
mod upgrade;

pub(super) use command::{Alone, DeployArguments, EnvironmentArguments};
pub(super) use history::HistoryArguments;
pub(super) use remove::RemoveArguments;
pub(super) use rollback::RollbackArguments;
