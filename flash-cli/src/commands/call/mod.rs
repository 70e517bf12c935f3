//! `flash call`: calls a function of a deployed app, or of a running `flash run`, over HTTP, as any client does.
//!
//! `command` holds the arguments and ties the rest together: `words` tells the positional arguments apart, `place` is
//! what is called, `find` resolves the function's name, `input` reads and checks the input, `files` inserts files into
//! it, `route` makes a request of it, `send` sends it and waits, `report` prints the outcome.
mod command;
mod files;
mod find;
mod input;
mod place;
mod report;
mod route;
mod send;
mod words;

pub(super) use command::CallArguments;
pub(super) use place::key_for;
