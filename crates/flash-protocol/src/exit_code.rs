//! Exit codes of an app's binary that others read.

/// The processor lacks instructions that the binary was compiled for, as a shell reports a death by SIGILL.
pub const OTHER_PROCESSOR: i32 = 132;
