//! Says how much of a file has been read.
use std::{
    fs::File,
    io::{BufReader, Read, Result, Seek, SeekFrom},
    path::Path,
};

/// Percent between two words.
const STEP: u64 = 10;

/// A file that is read once, in whatever order. What is read counts.
pub(super) struct Followed {
    file: BufReader<File>,
    name: String,
    size: u64,
    read: u64,
    /// Percent that were said last.
    said: u64,
}

impl Followed {
    pub(super) fn new(file: BufReader<File>, path: &Path) -> Self {
        let size = file.get_ref().metadata().map_or(0, |file| file.len());
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        flash_openai::report_loading(&format!("loading {name} ({:.2} GB)", size as f64 / 1e9));
        Self { file, name, size, read: 0, said: 0 }
    }
}

impl Read for Followed {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let count = self.file.read(buffer)?;
        self.read += count as u64;
        let percent = (self.read * 100).checked_div(self.size).unwrap_or(100).min(100);
        if percent >= self.said + STEP {
            self.said = percent - percent % STEP;
            flash_openai::report_loading(&format!("loading {}: {} %", self.name, self.said));
        }
        Ok(count)
    }
}

impl Seek for Followed {
    fn seek(&mut self, to: SeekFrom) -> Result<u64> {
        self.file.seek(to)
    }
}
