//! Segment files: their names, listing them, and removing an incomplete end.
use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::{FileExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    time::SystemTime,
};

const SUFFIX: &str = ".ndjson";
/// Read at once from the end of a file.
pub(super) const BLOCK: usize = 64 * 1024;

/// A place in the log, at the beginning of a line. Ordered as the lines are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(super) struct Position {
    pub segment: u64,
    pub offset: u64,
}

impl Position {
    /// Where a segment begins.
    pub(super) fn beginning_of(segment: u64) -> Self {
        Self { segment, offset: 0 }
    }
}

/// One segment.
#[derive(Debug, Clone, Copy)]
pub(super) struct Segment {
    pub number: u64,
    pub bytes: u64,
    /// No line in it is later.
    pub last_write: SystemTime,
}

/// Where a segment lies.
pub(super) fn path(directory: &Path, number: u64) -> PathBuf {
    directory.join(format!("{number:020}{SUFFIX}"))
}

/// All segments, the oldest first.
pub(super) fn list(directory: &Path) -> io::Result<Vec<Segment>> {
    let mut segments = Vec::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let name = entry.file_name();
        let number =
            name.to_str().and_then(|name| name.strip_suffix(SUFFIX)).and_then(|name| name.parse().ok());
        let Some(number) = number else { continue };
        match entry.metadata() {
            Ok(found) => {
                segments.push(Segment { number, bytes: found.len(), last_write: found.modified()? });
            }
            // Deleted because of its age at this moment.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    segments.sort_unstable_by_key(|segment| segment.number);
    Ok(segments)
}

/// Starts a segment. Other users must not read the lines.
pub(super) fn create(directory: &Path, number: u64) -> io::Result<File> {
    OpenOptions::new().append(true).create_new(true).mode(0o600).open(path(directory, number))
}

/// Opens a segment for appending. Removes an incomplete last line, and returns the remaining length.
pub(super) fn reopen(directory: &Path, number: u64) -> io::Result<(File, u64)> {
    let file = OpenOptions::new().read(true).append(true).open(path(directory, number))?;
    let length = file.metadata()?.len();
    let whole = end_of_last_line(&file, length)?;
    if whole < length {
        file.set_len(whole)?;
    }
    Ok((file, whole))
}

fn end_of_last_line(file: &File, length: u64) -> io::Result<u64> {
    let mut end = length;
    let mut block = vec![0; BLOCK];
    while end > 0 {
        let start = end.saturating_sub(BLOCK as u64);
        let block = &mut block[..usize::try_from(end - start).unwrap_or(BLOCK)];
        file.read_exact_at(block, start)?;
        if let Some(last) = block.iter().rposition(|byte| *byte == b'\n') {
            return Ok(start + last as u64 + 1);
        }
        end = start;
    }
    Ok(0)
}
