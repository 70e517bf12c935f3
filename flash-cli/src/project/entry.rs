//! Whether a binary is a Flash app, found in its file: another program would run its own `main` if asked.
use std::{
    fs::File,
    io::{self, Read},
    path::Path,
};

use flash_protocol::manifest::ENTRY_MARK;
use memchr::memmem::Finder;

/// How much of a file is in memory at a time.
const CHUNK: usize = 1 << 20;

/// Whether the program's `main` has `#[flash_sdk::main]`.
///
/// # Errors
/// When the file cannot be read.
pub(super) fn is_app(program: &Path) -> io::Result<bool> {
    holds(&mut File::open(program)?, &ENTRY_MARK)
}

fn holds(text: &mut impl Read, mark: &[u8]) -> io::Result<bool> {
    let finder = Finder::new(mark);
    let mut chunk = Vec::with_capacity(CHUNK + mark.len());
    loop {
        let read = text.by_ref().take(CHUNK as u64).read_to_end(&mut chunk)?;
        if finder.find(&chunk).is_some() {
            return Ok(true);
        }
        if read == 0 {
            return Ok(false);
        }
        // The marker may cross two chunks.
        let rest = chunk.len().saturating_sub(mark.len() - 1);
        chunk.drain(..rest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mark_is_found_wherever_it_lies() {
        for before in [0, 1, CHUNK - 20, CHUNK - 1, CHUNK, 3 * CHUNK - 44] {
            let mut file = vec![b'f'; before];
            file.extend(ENTRY_MARK);
            file.extend([b'f'; 100]);
            assert!(holds(&mut &*file, &ENTRY_MARK).unwrap(), "{before}");
            file[before + 5] = b'!';
            assert!(!holds(&mut &*file, &ENTRY_MARK).unwrap(), "{before}");
        }
        assert!(!holds(&mut io::empty(), &ENTRY_MARK).unwrap());
    }
}
