//! What travels: job objects as Runpod's API has them, the call envelope, and the exchange.
//!
//! Owns shapes only. Who sends what when is the business of `worker` and `call` here and of the
//! platform in the CLI.
mod coding;
pub mod envelope;
pub mod events;
pub mod exchange;
mod fault;
pub mod identity;
pub mod job;
pub mod job_end;
mod nesting;
mod refusal;

pub use coding::unsupported_coding;
pub use fault::{fault, fault_of_field};
pub use nesting::{MAX_NESTING, Nesting};
pub use refusal::refusal;

/// JSON text that is passed on as it came, checked for syntax once.
pub type RawJson = Box<serde_json::value::RawValue>;

/// The JSON text `null`.
pub fn null() -> RawJson {
    serde_json::value::RawValue::NULL.to_owned()
}
