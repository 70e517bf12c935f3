//! Processes of this machine, as the operating system knows them: children that die with their parent, and which
//! process listens on a port.
//!
//! What runs in a process and why is not known here.
pub mod parent_death;
pub mod port_holder;
