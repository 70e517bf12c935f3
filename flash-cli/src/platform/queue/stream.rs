//! What a client of `stream` gets.
use flash_sdk::wire::{RawJson, job::JobStatus};

/// Chunks that were not fetched before, and the job's status at that moment.
#[derive(Debug)]
pub(crate) struct Stream {
    pub status: JobStatus,
    pub chunks: Vec<RawJson>,
}
