//! `flash models`: fetching, listing, verifying and removing the weights of an app's models.
mod app;
mod command;
mod list;
mod prune;
mod pull;
mod verify;

pub(super) use command::ModelsArguments;
