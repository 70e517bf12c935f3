//! Calls between functions: where a function runs, and how to reach it.
//!
//! A call runs in this process if the process is a worker of the function's type, or if no platform is configured
//! (plain `cargo test` or `cargo run`). Otherwise it goes over the exchange if the platform has one, and over HTTP if
//! not. URLs come from `FLASH_ENDPOINTS` or, with `FLASH_ENV`, from the user's credential file.
mod chunks;
mod coding;
mod directory;
mod environments;
mod exchange;
mod handle;
mod peers;
mod route;
mod settings;
mod worker;

pub(crate) use coding::{decode, decode_chunk, encode};
pub(crate) use directory::Process;
pub(crate) use environments::name_app;
pub(crate) use exchange::Calls;
pub(crate) use handle::JobEnd;
pub use handle::{JobHandle, join_all};
pub(crate) use peers::{Peers, handle, peers, peers_for, settle};
pub(crate) use settings::CallSettings;
pub use worker::call_worker;
