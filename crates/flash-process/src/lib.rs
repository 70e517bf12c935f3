//! Processes of this machine, as the operating system knows them: children that die with their parent, and which
//! process listens on a port.
//!
//! Callers decide what runs in a process and when to stop it.
#![warn(unreachable_pub)]

pub mod parent_death;
pub mod port_holder;
