//! Watches what an app is made of and says when it changed.
//!
//! `scope` decides which paths matter, without looking at a disk; `watcher` watches them.
mod scope;
mod watcher;

pub(crate) use scope::Scope;
pub(crate) use watcher::SourceWatcher;
