//! Watches an app's sources and reports changes.
//!
//! `scope` decides which paths matter, without disk access; `watcher` watches them.
mod scope;
mod watcher;

pub(crate) use scope::Scope;
pub(crate) use watcher::SourceWatcher;
