//! Splits output into lines, on one thread per worker.
use std::{
    collections::VecDeque,
    io,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};

use super::{
    attribution::Piece,
    line::{Line, OnLine, Source},
};

/// A line longer than this is cut into several.
pub(super) const MAX_LINE_BYTES: usize = 64 * 1024;
/// Lines of stderr that are kept to report why a worker died.
const LAST_LINES: usize = 20;

/// The last lines of stderr, oldest first.
pub(crate) type LastLines = Arc<Mutex<VecDeque<String>>>;

/// Both pipes' lines.
pub(super) struct Printer {
    on_line: OnLine,
    last: LastLines,
    /// Lines that are not ended yet: of stdout, of stderr.
    begun: [Vec<u8>; 2],
}

impl Printer {
    pub(super) fn new(on_line: OnLine, last: LastLines) -> Self {
        Self { on_line, last, begun: Default::default() }
    }

    /// Prints the lines that end in it.
    pub(super) fn print(&mut self, source: Source, piece: &Piece) {
        let mut begun = std::mem::take(&mut self.begun[source as usize]);
        let mut rest = piece.bytes.as_slice();
        while let Some(length) = rest.iter().position(|byte| *byte == b'\n') {
            begun.extend_from_slice(&rest[..length]);
            rest = &rest[length + 1..];
            self.cut(source, &mut begun, piece);
            self.line(source, &begun, piece);
            begun.clear();
        }
        begun.extend_from_slice(rest);
        self.cut(source, &mut begun, piece);
        if (piece.ends_work || piece.is_last) && !begun.is_empty() {
            self.line(source, &begun, piece);
            begun.clear();
        }
        self.begun[source as usize] = begun;
    }

    /// Passes on a text longer than a line in parts, and keeps the last part.
    fn cut(&self, source: Source, begun: &mut Vec<u8>, piece: &Piece) {
        while begun.len() > MAX_LINE_BYTES {
            let rest = begun.split_off(end_of_character(begun, MAX_LINE_BYTES));
            self.line(source, begun, piece);
            *begun = rest;
        }
    }

    fn line(&self, source: Source, bytes: &[u8], piece: &Piece) {
        let text = String::from_utf8_lossy(bytes).trim_end_matches('\r').to_owned();
        if source == Source::Stderr {
            let mut last = self.last.lock();
            if last.len() == LAST_LINES {
                last.pop_front();
            }
            last.push_back(text.clone());
        }
        (self.on_line)(Line { source, text, work: piece.work.clone() });
    }
}

/// Starts the thread, which ends with the sender of `chunks`. Answered when all lines are out.
pub(super) fn print_all(
    printer: Arc<Mutex<Printer>>,
    mut chunks: mpsc::Receiver<(Source, Piece)>,
    queued: Arc<AtomicUsize>,
) -> io::Result<oneshot::Receiver<()>> {
    let (ended, printed) = oneshot::channel();
    let print = move || {
        while let Some((source, piece)) = chunks.blocking_recv() {
            printer.lock().print(source, &piece);
            queued.fetch_sub(1, Ordering::AcqRel);
        }
        // Waiting is no longer allowed.
        let _ = ended.send(());
    };
    std::thread::Builder::new().name("flash-lines".to_owned()).spawn(print)?;
    Ok(printed)
}

/// The last position up to `limit` that is a UTF-8 character boundary.
fn end_of_character(bytes: &[u8], limit: usize) -> usize {
    let is_begin = |at: &usize| bytes.get(*at).is_none_or(|byte| byte & 0b1100_0000 != 0b1000_0000);
    // A character has at most four bytes; otherwise the data is not UTF-8.
    (limit.saturating_sub(3)..=limit).rev().find(is_begin).unwrap_or(limit)
}
