//! Where an app runs. The only way from commands to the platform.
pub(crate) mod local;
