//! Builds images from a crate: one per worker type, and a record of them.
//!
//! Decides which binaries are needed, has cargo compile them so that the same sources give the same bytes, and
//! passes them to `flash-image`, which runs no cargo. Other modules use the images.
mod base_pulls;
mod bases;
mod binaries;
mod cargo_home;
mod compile;
pub(crate) mod cuda;
mod failure;
mod git;
mod images;
mod make;
mod materials;
mod models;
mod names;
mod needs;
mod own_gpus;
mod own_image;
mod plan;
mod program_images;
mod progress;
mod push;
mod record;
mod request;
mod rustc;
mod steps;
mod toolchain;
mod toolkit;

pub(crate) use binaries::Binaries;
pub(crate) use git::Commit;
pub(crate) use make::{Built, StepSeconds};
pub(crate) use names::references;
pub(crate) use own_gpus::{for_own_gpus, own_capabilities};
pub(crate) use own_image::push_own_image;
pub(crate) use plan::{Hardware, Selection};
pub(crate) use push::{ANY_TAG, LookAheadError, look_ahead, push};
pub(crate) use record::{BuildDirectory, BuiltImage, ExternalImage, Record};
pub(crate) use request::{BaseTags, Materials, Request, RunsOn, Sources};
pub(crate) use rustc::{compiler_main, is_compiler};
pub(crate) use steps::Build;
pub(crate) use toolchain::{Linking, Platform, Target, Toolchain};
