//! Sends spans over OTLP: which variables turn that on, and an exporter that never makes anybody wait.
//!
//! What becomes a span, and which spans are one trace, is for those who send. A span that ends goes into a bounded
//! queue; a thread of its own sends what is in it. While the collector does not answer, spans are dropped, and one line
//! in the log says so. Neither that line nor any `Debug` has a header or a URL, because both may hold secrets.
#![warn(unreachable_pub)]

mod client;
mod exporter;
mod grpc;
mod settings;

pub use exporter::{Export, Say, Service};
pub use opentelemetry;
pub use opentelemetry_sdk;
pub use settings::{Settings, SettingsError, is_asked_for};
