//! The local target: environments on this machine, in a background service.
//!
//! The service runs a platform for each environment: `client` talks to it through `connection`, `wire` and `socket`;
//! `process`, `supervise` and `systemd` run it, as agreed in `invocation`; `service`, `server` and `environments` are the
//! service itself; `database`, `artifact` and `directory` are its data, in which `cipher` encrypts secrets. `port` is for
//! `flash run`, whose platform is not part of the service.
//!
//! What happens inside an environment is left to `flash-platform`, and what a release consists of to `flash-cli`.
#![warn(unreachable_pub)]

mod artifact;
mod cipher;
mod client;
mod connection;
mod database;
mod directory;
mod environments;
mod invocation;
mod keys;
mod lock;
mod logs;
mod port;
mod process;
mod programs;
mod report;
mod server;
mod service;
mod service_log;
mod socket;
#[cfg(test)]
mod specs;
mod stop_signals;
mod supervise;
mod systemd;
mod utc;
mod wire;

pub use client::LocalTarget;
pub use directory::DataDirectory;
pub use invocation::is_service;
pub use port::{BindError, Port, bind};
pub use process::{Started, Stopped, start, status, stop};
pub use report::{Report, SharedReport};
pub use service::{serve_in_cluster, service_main};
pub use systemd::{check_free, install, installed, lingers};
pub use utc::utc;
pub use wire::{HostedEnvironment, Manager, ServiceStatus};
