//! `flash run`: serves an app on this machine, with hot reload.
//!
//! Builds the app, starts the platform, deploys the app to it, and repeats that whenever a source changes.
//! `command` holds the arguments and starts a session; `session` is the loop; `image` provides versions that are not
//! built here, `workspace` keeps those that are; `address` finds where to listen; `state` is what outlives a run.
mod address;
mod command;
mod image;
mod program_images;
mod session;
mod state;
mod stop;
mod variable;
mod workspace;

pub(super) use command::RunArguments;
pub(super) use image::check_engine;
