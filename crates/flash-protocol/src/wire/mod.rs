//! Wire formats: job objects as in Runpod's API, the call envelope, the exchange, and the connection of a pod.
//!
//! This module only defines formats. `worker` and `call` in `flash-sdk`, and `flash-platform`, decide who sends what
//! and when.
pub mod base64;
mod coding;
pub mod envelope;
pub mod events;
pub mod exchange;
mod fault;
pub mod identity;
pub mod job;
pub mod job_end;
mod nesting;
pub mod payload;
pub mod pod;
mod refusal;
pub mod retry;
pub mod submission;

pub use coding::unsupported_coding;
pub use fault::{fault, fault_of_field};
pub use nesting::{MAX_NESTING, Nesting};
pub use payload::{Payload, PayloadList};
pub use refusal::{error_body, refusal, refusal_text};

/// JSON text that is passed on unchanged, checked for syntax once.
pub type RawJson = Box<serde_json::value::RawValue>;

/// The JSON text `null`.
pub fn null() -> RawJson {
    serde_json::value::RawValue::NULL.to_owned()
}
