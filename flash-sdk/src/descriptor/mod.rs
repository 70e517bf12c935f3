//! What `#[remote]` says about a function: its name and place, worker type, route, arguments, result, and how it runs.
//! A function that makes a router has a descriptor of its own.
//!
//! `registry` checks the descriptors of an app against each other. `arguments` reads and writes the values.
mod answered;
mod argument;
mod binding;
mod function;
mod input;
mod lifecycle;
mod request_part;
mod route;
mod router_function;
mod schedule;
mod settings;
mod value;

pub(crate) use answered::{Answered, Head};
pub use argument::{Argument, Output};
pub(crate) use binding::{Binding, Takes};
pub(crate) use function::Handler;
pub use function::{Function, Registered, Resource, type_of};
pub(crate) use input::Input;
pub(crate) use lifecycle::Step;
pub use lifecycle::{HealthCheck, Lifecycle};
pub(crate) use request_part::{Outgoing, Part, RequestArgument};
pub use route::Route;
pub use router_function::{IsModels, IsRouter, RegisteredRouter, RouterFunction};
pub use schedule::Schedule;
pub use settings::FunctionSettings;
pub(crate) use value::Value;
