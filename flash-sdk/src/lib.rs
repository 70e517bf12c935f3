//! Serverless workers for Rust.
//!
//! Annotate functions and choose CPU or GPU and how far to scale. `flash run` serves them on your machine as
//! autoscaled worker processes. The same binary runs on Runpod.
//!
//! ```no_run
//! use flash_sdk::{Result, remote};
//!
//! /// Says hello.
//! #[remote(cpu = Cpu3c_1_2, workers = 0..=3)]
//! pub async fn hello(name: String) -> Result<String> {
//!     Ok(format!("hello, {name}"))
//! }
//!
//! #[flash_sdk::main]
//! async fn main() -> Result<()> {
//!     // Without a platform, calls run in this process.
//!     println!("{}", hello("world".to_owned()).await?);
//!     Ok(())
//! }
//! ```
//!
//! This crate contains everything an app is made of: resources, functions, the manifest, the worker runtime, calls
//! between functions, and the wire types. The platform decides where workers run and how many.
#[cfg(feature = "runtime")]
mod arguments;
#[cfg(feature = "runtime")]
mod call;
pub mod catalogue;
#[cfg(feature = "runtime")]
mod context;
pub mod credentials;
#[cfg(feature = "runtime")]
pub mod endpoint;
pub mod env;
mod error;
#[cfg(feature = "runtime")]
mod failure;
#[cfg(feature = "runtime")]
mod function;
#[cfg(feature = "runtime")]
mod json;
pub mod manifest;
#[cfg(feature = "runtime")]
mod panic;
#[cfg(feature = "runtime")]
mod registry;
mod resource;
#[cfg(feature = "schema")]
pub mod schema;
#[cfg(feature = "runtime")]
mod stream;
pub mod wire;
#[cfg(feature = "runtime")]
mod worker;

pub use catalogue::{CpuInstance, DataCenter, GpuPool, GpuType};
pub use env::env;
pub use error::{Error, ErrorKind, FieldError, Result, ResultExt, WireError};
pub use resource::{Compute, ResourceConfig, Scaler};

#[cfg(feature = "runtime")]
pub use {
    call::{JobHandle, call_worker},
    context::{Context, MAX_DEPTH, progress},
    endpoint::Endpoint,
    flash_macros::{main, remote},
};

/// Used by the code that the macros generate. Not part of the public API; it changes without notice.
#[cfg(feature = "runtime")]
#[doc(hidden)]
pub mod __private {
    pub use crate::{
        arguments::Wire,
        failure::{ARoute, AStream, Failure, MakesJobs, Outcome, ways},
        function::{
            Instance, MAP_CONCURRENCY, RemoteFunction, RemoteStream, blocking, call, chunks, map, once,
            spawn, stream, streaming,
        },
        manifest::{ENTRY_MARK, EntryMark},
        registry::{Argument, Function, Registered, Resource, Route},
        worker::{AppInfo, IntoExit, main},
    };
    pub use futures_util::{Stream, future::BoxFuture};
    pub use inventory;
    pub use schemars::{Schema, SchemaGenerator};
    pub use std::sync::OnceLock;
}
