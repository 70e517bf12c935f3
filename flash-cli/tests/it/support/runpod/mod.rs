//! A stand-in of Runpod's cloud for tests: REST v2, the queue host and load-balanced endpoints, behind the
//! provider's own OpenAPI document.
//!
//! Its facts are those of the provider's documents and of notes from production; what nobody knows is not
//! imitated.
mod catalog;
mod cloud;
mod contract;
mod endpoints;
mod faults;
mod logs;
mod queue;
mod rest;
mod state;
mod templates;
mod workers;

pub use cloud::{Cloud, KEY, Options};
pub use contract::Contract;
pub use faults::{Call, Fault, Host};
pub use workers::{Containers, NoWorkers, Workers};
