//! OCI images, built and transferred without a container daemon.
//!
//! Knows files, layers and registries, but not cargo or the content of a binary. Everything here blocks on files:
//! called from an async task, it belongs on a blocking thread.
mod archive;
mod assemble;
mod certificates;
mod elf;
mod hashed;
mod include;
mod layer;
mod layer_cache;
mod layout;
pub(crate) mod registry;
mod sbom;
mod tarball;
mod verify;

pub(crate) use archive::{ArchiveError, ArchivedImage, write_archive};
pub(crate) use assemble::{AssembleError, Assembler, Base, Binary, Image, ImageSpec};
pub(crate) use include::{IncludeError, Included, IncludedFile, LeftOut, included};
pub(crate) use layer::Access;
pub(crate) use layout::{BlobWriter, Layout, LayoutError};
pub(crate) use sbom::{SBOM_MEDIA_TYPE, SbomError, sbom};
pub(crate) use verify::{Verifier, VerifyError};

#[cfg(test)]
mod tests;
