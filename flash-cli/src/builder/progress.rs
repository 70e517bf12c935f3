//! One progress bar for many blobs.
use std::collections::HashMap;

use flash_image::registry;
use oci_spec::image::Digest;
use parking_lot::Mutex;

use crate::output::Progress;

/// Bytes done and total, by blob.
#[derive(Default)]
pub(super) struct BlobProgress(Mutex<HashMap<Digest, (u64, u64)>>);

impl BlobProgress {
    /// Progress of one blob.
    pub(super) fn show(&self, of_blob: registry::Progress, bar: &Progress) {
        let mut blobs = self.0.lock();
        blobs.insert(of_blob.digest, (of_blob.done, of_blob.total));
        bar.set_total(blobs.values().map(|(_, total)| total).sum());
        bar.set(blobs.values().map(|(done, _)| done).sum());
    }
}
