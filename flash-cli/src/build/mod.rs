//! From a crate to images: one per worker type, and a record of what was made.
//!
//! Decides which binaries are needed, has cargo compile them so that the same sources give the same bytes, and
//! hands them to `image`, which knows nothing of cargo. Where the images go afterwards is for others.
mod compile;
mod failure;
mod git;
mod plan;
mod record;
mod steps;
mod toolchain;

pub(crate) use plan::{Hardware, Selection};
pub(crate) use record::{BuildDirectory, BuiltImage, Record};
pub(crate) use steps::{Build, Materials, Request, Sources};
pub(crate) use toolchain::Platform;
