//! Positions in a blob, as the headers of answers name them.
use http::{HeaderMap, header};

/// The first byte of a part, from `Content-Range: bytes FIRST-LAST/SIZE`.
pub(super) fn begins_at(headers: &HeaderMap) -> Option<u64> {
    let range = headers.get(header::CONTENT_RANGE)?.to_str().ok()?;
    range.strip_prefix("bytes ")?.split_once('-')?.0.trim().parse().ok()
}

/// How much of an upload the registry has, from `Range: 0-LAST`. An empty upload is reported as one byte.
pub(super) fn received(headers: &HeaderMap) -> Option<u64> {
    let range = headers.get(header::RANGE)?.to_str().ok()?;
    let last: u64 = range.rsplit_once('-')?.1.trim().parse().ok()?;
    Some(if last == 0 { 0 } else { last.saturating_add(1) })
}

#[cfg(any(test, fuzzing))]
flash_test_support::fuzz_target!("registry_ranges", |data| {
    let Ok(value) = http::HeaderValue::from_bytes(data) else { return };
    let _ = received(&HeaderMap::from_iter([(header::RANGE, value.clone())]));
    let _ = begins_at(&HeaderMap::from_iter([(header::CONTENT_RANGE, value.clone())]));
    let _ = super::transport::retry_after(&HeaderMap::from_iter([(header::RETRY_AFTER, value)]));
});
