//! Which bytes of a pipe belong to which job or request, by the position in the stream where each ended.
use std::collections::VecDeque;

use super::line::Work;

/// Bytes of a pipe that belong to one work.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Piece {
    pub bytes: Vec<u8>,
    pub work: Option<Work>,
    /// The work ends here, and so does its last line, complete or not.
    pub ends_work: bool,
    /// The pipe has ended.
    pub is_last: bool,
}

/// The ends of works that have not been read completely.
///
/// There are never more ends than bytes in the pipe, and one: an end with nothing new before it is none.
#[derive(Default)]
pub(super) struct Attribution {
    /// Bytes read so far.
    read: u64,
    /// In the order of the stream.
    ends: VecDeque<End>,
    /// Whether the last line read is incomplete.
    is_within_line: bool,
}

struct End {
    /// Bytes of the stream before it.
    at: u64,
    work: Option<Work>,
}

impl Attribution {
    /// This work ends while this many bytes are in the pipe. `None` if several works are running: the output cannot
    /// be assigned to one of them.
    pub(super) fn work_ends(&mut self, waiting: u64, work: Option<Work>) {
        let at = self.read + waiting;
        let (seen, is_within_line) = match self.ends.back() {
            Some(end) => (end.at, end.work.is_none()),
            None => (self.read, self.is_within_line),
        };
        if at > seen || (is_within_line && work.is_some()) {
            self.ends.push_back(End { at, work });
        }
    }

    /// The end of a work, all of whose bytes were read before it ended.
    pub(super) fn due(&mut self) -> Option<Piece> {
        let End { work, .. } = self.reached()?;
        self.is_within_line = self.is_within_line && work.is_none();
        let ends_work = work.is_some();
        Some(Piece { bytes: Vec::new(), work, ends_work, is_last: false })
    }

    /// Whether no end is waited for.
    pub(super) fn is_settled(&self) -> bool {
        self.ends.is_empty()
    }

    /// Data that was read at the moment when this work ends. No other end is pending.
    pub(super) fn end(&mut self, bytes: Vec<u8>, work: Option<Work>) -> Piece {
        let ends_work = work.is_some();
        self.read += bytes.len() as u64;
        self.is_within_line = !ends_work && bytes.last().map_or(self.is_within_line, |byte| *byte != b'\n');
        Piece { bytes, work, ends_work, is_last: false }
    }

    /// How much of `limit` may be read at once, so that all of it belongs to one work.
    pub(super) fn room(&self, limit: usize) -> usize {
        let left = self.ends.front().map(|end| end.at - self.read);
        left.and_then(|left| usize::try_from(left).ok()).map_or(limit, |left| left.min(limit))
    }

    /// Data that was read, at most as much as there was room for; empty at the end of the pipe. `now` returns the
    /// current work.
    pub(super) fn read(&mut self, bytes: Vec<u8>, now: impl FnOnce() -> Option<Work>) -> Piece {
        let is_last = bytes.is_empty();
        self.read += bytes.len() as u64;
        let ended = self.reached();
        let ends_work = ended.as_ref().is_some_and(|end| end.work.is_some());
        let work = match (ended, self.ends.front()) {
            (Some(end), _) => end.work,
            (None, Some(end)) => end.work.clone(),
            (None, None) => now(),
        };
        self.is_within_line = !ends_work && bytes.last().map_or(self.is_within_line, |byte| *byte != b'\n');
        Piece { bytes, work, ends_work, is_last }
    }

    /// The first end, where all before it is read.
    fn reached(&mut self) -> Option<End> {
        match self.ends.front() {
            Some(end) if end.at <= self.read => self.ends.pop_front(),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn work(id: &str) -> Option<Work> {
        Some(Work { request_id: id.to_owned(), job_id: None })
    }

    fn read(attribution: &mut Attribution, bytes: &[u8], now: &str) -> (Option<Work>, bool) {
        let piece = attribution.read(bytes.to_vec(), || work(now));
        (piece.work, piece.ends_work)
    }

    #[test]
    fn what_was_in_the_pipe_when_a_work_ended_is_its_own_and_the_rest_is_the_next_ones() {
        let mut attribution = Attribution::default();
        assert_eq!(read(&mut attribution, b"one\n", "a"), (work("a"), false));
        attribution.work_ends(6, work("a"));
        attribution.work_ends(9, work("b"));
        assert_eq!(attribution.room(100), 6);
        assert_eq!(read(&mut attribution, b"tw", "c"), (work("a"), false));
        assert_eq!(attribution.room(100), 4);
        assert_eq!(attribution.room(3), 3);
        assert_eq!(read(&mut attribution, b"o\nth", "c"), (work("a"), true));
        assert_eq!(read(&mut attribution, b"ree", "c"), (work("b"), true));
        assert_eq!(read(&mut attribution, b"four\n", "c"), (work("c"), false));
        assert_eq!(attribution.due(), None);
    }

    #[test]
    fn a_line_that_was_read_before_its_work_ended_ends_with_it() {
        let mut attribution = Attribution::default();
        read(&mut attribution, b"50 %", "a");
        attribution.work_ends(0, work("a"));
        let end = attribution.due().unwrap();
        assert_eq!((end.bytes.as_slice(), end.work, end.ends_work), (&b""[..], work("a"), true));
        attribution.work_ends(0, work("b"));
        assert_eq!(attribution.due(), None, "the line has ended, and nothing was printed for b");
    }

    #[test]
    fn of_several_works_none_gets_the_line_and_none_ends_it() {
        let mut attribution = Attribution::default();
        attribution.work_ends(3, None);
        assert_eq!(read(&mut attribution, b"abc", "a"), (None, false));
        attribution.work_ends(0, None);
        assert_eq!(attribution.due(), None);
        attribution.work_ends(0, work("a"));
        assert!(attribution.due().unwrap().ends_work);
    }

    #[test]
    fn ends_without_output_take_no_memory() {
        let mut attribution = Attribution::default();
        attribution.work_ends(5, work("a"));
        for _ in 0..1000 {
            attribution.work_ends(5, work("b"));
        }
        assert_eq!(attribution.ends.len(), 1);
    }
}
