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
//! This crate contains what an app is made of: functions, the worker runtime, and calls between functions. What it
//! shares with the `flash` command (wire types, manifest, resource catalogue) is in `flash-protocol`. The platform
//! decides where workers run and how many.
#![warn(unreachable_pub)]

mod answer;
mod arguments;
mod attempts;
mod batch;
mod blocking;
mod bytes;
mod call;
mod context;
mod deadline;
mod descriptor;
pub mod endpoint;
mod env;
mod failure;
mod function;
mod http_client;
mod jitter;
mod json;
mod located;
mod model_dir;
#[cfg(feature = "axum")]
mod multipart;
mod options;
mod panic;
mod queue_client;
mod registry;
mod request;
pub mod stream;
mod substitutes;
pub mod testing;
mod traces;
mod worker;

/// The version of axum whose `Router` an `http` function returns, with WebSockets and multipart forms.
#[cfg(feature = "axum")]
pub use axum;
pub use bytes::Bytes;
pub use env::env;
/// OpenAI's API over models: what an `openai` function returns, and what a model implements.
#[cfg(feature = "openai")]
pub use flash_openai as openai;
/// The types of headers, for a [`TypedHeader`].
#[cfg(feature = "axum")]
pub use headers;
/// The types of HTTP: a route may take a `http::HeaderMap` or a whole `http::Request`, and return an `http::Response`; a
/// [`Reply`] has a status and headers.
pub use http;
/// Counters, gauges and histograms of your own: a worker reports them to its platform, which writes them with its own
/// metrics.
///
/// ```
/// flash_sdk::metrics::counter!("orders_total", "land" => "ch").increment(1);
/// ```
pub use metrics;
#[cfg(feature = "axum")]
pub use multipart::{FormField, Multipart};
#[cfg(feature = "axum")]
pub use request::TypedHeader;
/// Arguments and results implement [`schemars::JsonSchema`]. See [`serde`](mod@crate::serde) for how to derive it
/// without a dependency on `schemars`.
pub use schemars;
/// Arguments and results implement serde's traits. With the paths of this re-export, an app needs no other dependency
/// than `flash-sdk`; the derives are told where their crates are:
///
/// ```
/// use flash_sdk::{Result, remote, schemars::JsonSchema, serde::{Deserialize, Serialize}};
///
/// #[derive(Serialize, Deserialize, JsonSchema)]
/// #[serde(crate = "flash_sdk::serde")]
/// #[schemars(crate = "flash_sdk::schemars")]
/// pub struct Greeting {
///     text: String,
///     #[serde(default)]
///     polite: Option<bool>,
/// }
///
/// #[remote(cpu = Cpu3c_1_2)]
/// pub async fn hello(name: String) -> Result<Greeting> {
///     Ok(Greeting { text: format!("hello, {name}"), polite: None })
/// }
///
/// fn main() {}
/// ```
pub use serde;
pub use {
    answer::Reply,
    call::{JobHandle, call_worker, join_all},
    context::{Context, MAX_DEPTH, progress},
    endpoint::Endpoint,
    flash_macros::{main, remote, test},
    flash_protocol::wire::job::{JobObject, JobStatus},
    flash_protocol::{
        Compute, CpuInstance, DataCenter, Error, ErrorKind, FieldError, GpuPool, GpuType, Lifetime,
        ResourceConfig, Result, ResultExt, Scaler, WireError,
    },
    model_dir::ModelDir,
    options::{CallOptions, Priority},
};

/// Used by the code that the macros generate. Not part of the public API; it changes without notice.
#[doc(hidden)]
pub mod __private {
    pub use crate::descriptor::Schedule;
    pub use crate::{
        answer::{Answer, WholeResponse},
        arguments::Wire,
        batch::{Batcher, RunBatch, batch_cost},
        blocking::run as blocking,
        descriptor::{
            Argument, Function, FunctionSettings, HealthCheck, IsModels, IsRouter, Lifecycle, Output,
            Registered, RegisteredRouter, Resource, Route, RouterFunction, type_of,
        },
        failure::{ARoute, AStream, Failure, MakesJobs, Outcome, judge, ways},
        function::{
            Instance, MAP_CONCURRENCY, RemoteFunction, RemoteStream, call, chunks, map, once, spawn, stream,
            streaming,
        },
        model_dir::model_dir,
        options::{
            DirectCall, Job, StreamingJob, StreamingRoute, direct_call, job, streaming_job, streaming_route,
        },
        request::{Headers, RequestPart, WholeRequest},
        stream::generator::generated,
        testing::run as test,
        worker::{AppInfo, IntoExit, main},
    };
    pub use flash_protocol::{
        BatchLimits, Missed, Overlap, Retries,
        manifest::{ENTRY_MARK, EntryMark},
    };
    pub use futures_util::{Stream, future::BoxFuture};
    pub use inventory;
    pub use schemars::{Schema, SchemaGenerator};
    pub use std::sync::OnceLock;
}
