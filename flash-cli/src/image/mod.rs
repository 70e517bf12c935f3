//! OCI images, made and moved without a container daemon.
//!
//! Knows files, layers and registries; not cargo, and not what is in a binary. Everything here reads and
//! writes files and waits for them: called from an async task, it belongs on a blocking thread.
mod assemble;
mod certificates;
mod include;
mod layer;
mod layout;
mod made;

pub(crate) use assemble::{APP, AssembleError, Assembler, Base, Binary, Image, ImageSpec, Part, USER};
pub(crate) use include::IncludedFile;
pub(crate) use layer::{Access, Layer, LayerError};
pub(crate) use layout::{BlobWriter, Layout, LayoutError};
