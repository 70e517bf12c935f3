//! The environments on this machine while the service runs: each has a platform of its own.
//!
//! [`Environments`] is what the server can ask for. `host` is what they share, and the parts work on it: `startup`,
//! `restart` and `shutdown` follow the service, `create` and `remove` the list of environments, `change` what is live;
//! `platform` and `release` make what runs, `prune` deletes what nobody needs; `view` reports, `keys`, `secrets` and
//! `costs`, `days`, `releases`, `scales` and `schedules` hold what their names say. The database is authoritative: what runs is made to match it.
mod blocking;
mod change;
mod costs;
mod create;
mod days;
mod handle;
mod host;
mod keys;
mod platform;
mod prune;
mod release;
mod releases;
mod remove;
mod restart;
mod running;
mod scales;
mod schedules;
mod secrets;
mod shutdown;
mod startup;
mod view;

pub(super) use change::Steps;
pub(super) use handle::Environments;

#[cfg(test)]
mod tests;
