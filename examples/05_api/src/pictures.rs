//! Makes pictures smaller.
use std::io::Cursor;

use flash_sdk::{Bytes, Error, Result, remote};
use image::ImageFormat;

/// Shrinks a PNG or JPEG to at most this many pixels per side, and answers with a PNG.
///
/// A plain `fn`: it computes, so it runs on the blocking pool. Memory and time of the picture are this worker's, not the
/// router's.
#[remote(worker = "shrinker", cpu = Cpu3c_2_4, workers = 0..=3)]
pub fn shrink(picture: Bytes, longest: u32) -> Result<Bytes> {
    let picture = image::load_from_memory(&picture)
        .map_err(|error| Error::status(415, format!("this is not a PNG or JPEG: {error}")))?;
    let mut small = Cursor::new(Vec::new());
    picture.thumbnail(longest, longest).write_to(&mut small, ImageFormat::Png)?;
    Ok(Bytes::with_content_type("image/png", small.into_inner()))
}
