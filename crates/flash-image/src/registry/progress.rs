//! How far the transfer of a blob is, for whoever shows it.
use oci_spec::image::Digest;

/// The progress of one blob. `done` falls back to what the other side has when a connection breaks.
#[derive(Debug, Clone)]
pub struct Progress {
    /// Which blob.
    pub digest: Digest,
    /// Bytes transferred so far.
    pub done: u64,
    /// Its size in bytes.
    pub total: u64,
}

/// Called with progress, from the task that moves the blob: it must not block.
pub type OnProgress<'a> = &'a (dyn Fn(Progress) + Sync);
