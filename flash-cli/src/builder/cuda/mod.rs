//! GPU builds: finds a CUDA toolkit, checks it, and presents it to cargo in our own layout.
//!
//! [`Toolchain`] sets everything that candle's build scripts read: they never look for a GPU, and never find
//! another toolkit than the one that was checked. `kernels` has the rule of what is compiled for which GPUs;
//! `driver` makes binaries start without a driver. Nothing here knows of images or of cargo. Everything blocks: it
//! reads files and runs compilers.
//!
//! ```text
//! CudaHome::find(…)?            which toolkit, and is all of it there
//!     .toolchain(kernels, dir)? the directory that stands in for it, and the variables for cargo
//! ```
use std::path::{Path, PathBuf};

mod compiler;
mod driver;
mod error;
mod home;
mod kernels;
mod toolchain;

pub(crate) use error::CudaError;
#[cfg(test)]
pub(crate) use home::tests::toolkit as toolkit_of_test;
pub(crate) use home::{CudaHome, Search};
pub(crate) use kernels::Kernels;
pub(crate) use toolchain::Toolchain;

/// The base image of GPU workers' images if `[build] cuda_base` is not set.
///
/// The flavor `runtime` is NVIDIA's `base` (the C and C++ libraries, cudart, a newer driver library for older
/// drivers) with the package `cuda-libraries-13-0`, which has cuBLAS, cuRAND and NVRTC: what candle needs. `base`
/// has none of these, `devel` adds the compiler. 13.0 is the toolkit that the recipe installs: libraries of the
/// same major version work with any 13.x build, and drivers from 580 on run it. Ubuntu 24.04 has glibc 2.39, so
/// binaries linked on Debian 12 or Ubuntu up to 24.04 start. It is large (cuBLAS alone unpacks to 600 MB), and a
/// registry stores it once for all images.
pub(crate) const DEFAULT_BASE: &str = "docker.io/nvidia/cuda:13.0.2-runtime-ubuntu24.04";

/// Where toolchains are made: in cargo's target directory, so that `cargo clean` removes them.
pub(crate) fn toolchains_in(target_directory: &Path) -> PathBuf {
    target_directory.join("flash-cuda")
}
