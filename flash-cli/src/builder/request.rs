//! What to build.
use std::collections::BTreeSet;

use flash_protocol::catalogue::ComputeCapability;

use super::{plan::Selection, toolchain::Platform};
use crate::project::CudaPolicy;

/// The options of a build.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub selection: Selection,
    /// This machine's if not set.
    pub platform: Option<Platform>,
    /// Cargo's profile.
    pub profile: String,
    /// In addition to those of `flash.toml`.
    pub features: Vec<String>,
    /// Whether GPU worker types must be built with CUDA; overrides `flash.toml`.
    pub cuda: Option<CudaPolicy>,
    pub runs_on: RunsOn,
    pub sources: Sources,
    pub materials: Materials,
    pub base_tags: BaseTags,
}

/// Where binaries run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum RunsOn {
    /// In images, on the GPUs that their worker types name.
    Images,
    /// As processes of this machine, on GPUs of these capabilities; none for the CPU.
    ThisMachine(BTreeSet<ComputeCapability>),
}

/// Which sources may be built.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sources {
    /// The current files.
    Any,
    /// Only a commit, without changes.
    Committed,
}

/// Whether to write bills of materials.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Materials {
    Listed,
    LeftOut,
}

/// What the tags of base images stand for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BaseTags {
    /// What they stood for at the last build.
    AsRecorded,
    /// What the registry says now.
    Resolved,
}
