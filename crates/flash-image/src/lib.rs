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
pub mod registry;
mod sbom;
mod tarball;
mod verify;

pub use archive::{ArchiveError, ArchivedImage, write_archive};
pub use assemble::{AssembleError, Assembler, Base, Binary, Image, ImageSpec};
pub use include::{IncludeError, Included, IncludedFile, LeftOut, included};
pub use layer::Access;
pub use layout::{BlobWriter, Layout, LayoutError};
pub use sbom::{SBOM_MEDIA_TYPE, SbomError, sbom};
pub use verify::{Verifier, VerifyError};

#[cfg(test)]
mod tests;

#[cfg(test)]
flash_test_support::fuzz_tests!("registry_challenge", "registry_ranges", "registry_refusal", "tar_reader");
