//! OCI images, built and transferred without a container daemon.
//!
//! It assembles images in a layout on disk, verifies them, describes them in a bill of materials, and writes them to an
//! archive. [`registry`] transfers them. `flash-cli` builds the binaries and decides what goes into an image; running
//! one is left to `flash-containers`.
//!
//! Everything but [`registry`] blocks on files: called from an async task, it belongs on a blocking thread.
#![warn(unreachable_pub)]

mod archive;
mod assemble;
mod certificates;
mod elf;
mod hashed;
mod include;
mod layer;
mod layer_cache;
mod layout;
mod programs;
pub mod registry;
mod sbom;
mod tarball;
mod verify;

pub use archive::{ArchiveError, ArchivedImage, write_archive};
pub use assemble::{AssembleError, Assembler, Base, Binary, DataLayer, Image, ImageSpec, Linkage};
pub use include::{IncludeError, Included, IncludedFile, LeftOut, included};
pub use layer::Access;
pub use layout::{BlobWriter, Layout, LayoutError};
pub use programs::{MissingPrograms, ProgramSearch, ProgramsError};
pub use sbom::{SBOM_MEDIA_TYPE, SbomError, sbom};
pub use verify::{Verifier, VerifyError};

#[cfg(test)]
mod tests;

#[cfg(test)]
flash_test_support::fuzz_tests!("registry_challenge", "registry_ranges", "registry_refusal", "tar_reader");
