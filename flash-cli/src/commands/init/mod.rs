//! `flash init`: a new crate from a template.
//!
//! `arguments` is the command line and its help, `command` the order of the steps. `template` has the templates, `answers`
//! decides what is made, `render` makes the texts of its files, `files` writes
//! them, and `workspace` makes the crate a member of the workspace that it lies in.
mod answers;
mod arguments;
mod command;
mod files;
mod name;
mod render;
mod template;
mod workspace;

pub(super) use arguments::InitArguments;
