//! The commands, one file or folder each, and the command line that selects one.
//!
//! `command_line` lists them and runs the one that is meant; `command` is what they have in common. A command's
//! arguments, help and exit codes are its own. `scope` (which environment, which crate), `confirm` (questions), `time`,
//! `choice` (arguments with a list of values), `changes` and `endpoint_table` (texts), `running` (a `flash run` that is running) are shared by several.
mod build;
mod call;
mod catalog;
mod changes;
mod choice;
mod command;
mod command_line;
mod completions;
mod confirm;
mod cost;
mod dashboard;
mod deploy;
mod doctor;
mod endpoint_table;
mod init;
mod key;
mod login;
mod logs;
mod models;
mod prompt;
mod run;
mod running;
mod scale;
mod schedule;
mod scope;
mod secret;
mod service;
mod status;
mod time;
mod undeploy;

pub(crate) use command_line::main;
#[cfg(test)]
pub(crate) use command_line::parse;
