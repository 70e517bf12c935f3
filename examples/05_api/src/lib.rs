//! A web API: a chat over WebSockets, pictures that a CPU worker shrinks, and a story that a worker tells word by word.
//!
//! The functions are in a library, so that tests can call and fake them.
pub mod pictures;
pub mod stories;
pub mod web;
