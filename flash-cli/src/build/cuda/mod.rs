//! GPU builds: a CUDA toolkit is found, checked, and put before cargo in a shape of our own.
//!
//! What candle's build scripts read is set by [`Toolchain`]: they never look for a GPU, and never find
//! another toolkit than the one that was checked. The rule of what is compiled for which GPUs is in
//! `kernels`; how a binary comes to start where no driver is, in `driver`. Nothing here knows of images or
//! of cargo. All of it blocks: it reads files and runs compilers.
//!
//! ```text
//! CudaHome::find(…)?            which toolkit, and is all of it there
//!     .toolchain(kernels, dir)? the directory that stands in for it, and the variables for cargo
//! ```
use std::path::{Path, PathBuf};

mod driver;
mod error;
mod home;
mod kernels;
mod toolchain;

pub(crate) use error::CudaError;
pub(crate) use home::{CudaHome, Search};
pub(crate) use kernels::Kernels;
pub(crate) use toolchain::Toolchain;

/// The image that GPU workers' images are made on where `[build] cuda_base` names no other.
///
/// The flavour `runtime` is NVIDIA's `base` (the C and C++ libraries, cudart, a newer driver library for older
/// drivers) with the package `cuda-libraries-13-0`, which has cuBLAS, cuRAND and NVRTC: what candle needs. `base`
/// has none of these, `devel` adds the compiler. 13.0 is the toolkit that the recipe installs: libraries of the same
/// major version serve any 13.x build, and drivers from 580 on run it. Ubuntu 24.04 has glibc 2.39, so that what
/// Debian 12 or an Ubuntu up to 24.04 has linked starts. It is large (cuBLAS alone unpacks to 600 MB), and held by a
/// registry once for all images.
pub(crate) const DEFAULT_BASE: &str = "docker.io/nvidia/cuda:13.0.2-runtime-ubuntu24.04";

/// Where toolchains are made: below cargo's own target directory, so that `cargo clean` takes them along.
pub(crate) fn toolchains_in(target_directory: &Path) -> PathBuf {
    target_directory.join("flash-cuda")
}
