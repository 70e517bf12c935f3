//! Marks in the output of a worker in a pod: which work it prints for from there on.
//!
//! The first process of the pod reads what the worker has written, at some later time. Only a mark within the output itself
//! says exactly where the output of one job or request ends. A mark is an escape sequence that terminals ignore (APC of
//! ECMA-48): `ESC _ flash US nonce US request US job ESC \`. The nonce is a word that only the worker and the first process
//! know, so that nobody makes a mark by having a worker print one.
use serde::{Deserialize, Serialize};

const BEGIN: &[u8] = b"\x1b_flash\x1f";
const ESCAPE: &[u8] = b"\x1b";
const SEPARATOR: u8 = b'\x1f';
const END: &[u8] = b"\x1b\\";

/// A longer mark is not one. Ids are shorter, and a pipe takes so many bytes at once.
pub const MAX_MARK_BYTES: usize = 512;

/// The one job or request that a worker prints for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodWork {
    /// The id of the request.
    pub request_id: String,
    /// The id of the job; `None` for a request to a load-balanced worker.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job_id: Option<String>,
}

/// From here on, the worker prints for this work, or for none that is certain. `None` if an id cannot be in a mark.
pub fn mark(nonce: &str, work: Option<&PodWork>) -> Option<Vec<u8>> {
    let (request, job) = match work {
        Some(PodWork { request_id, job_id }) => (request_id.as_str(), job_id.as_deref().unwrap_or_default()),
        None => ("", ""),
    };
    if work.is_some() && request.is_empty() || request.chars().chain(job.chars()).any(char::is_control) {
        return None;
    }
    let text = [&begin(nonce), request.as_bytes(), &[SEPARATOR], job.as_bytes(), END].concat();
    (text.len() <= MAX_MARK_BYTES).then_some(text)
}

/// How each mark with this nonce begins.
fn begin(nonce: &str) -> Vec<u8> {
    [BEGIN, nonce.as_bytes(), &[SEPARATOR]].concat()
}

/// A part of a worker's output.
#[derive(Debug, PartialEq, Eq)]
pub enum Part {
    /// What it has printed.
    Text(Vec<u8>),
    /// What it prints for, from here on.
    Work(Option<PodWork>),
}

/// Finds the marks in one stream, wherever the reads of it are cut.
pub struct MarkReader {
    /// How each mark begins.
    begin: Vec<u8>,
    /// What may be the beginning of a mark; at most [`MAX_MARK_BYTES`].
    begun: Vec<u8>,
}

impl MarkReader {
    /// For marks with this nonce, of fewer than [`MAX_MARK_BYTES`] / 2 bytes.
    pub fn new(nonce: &str) -> Self {
        Self { begin: begin(nonce), begun: Vec::new() }
    }

    /// The parts of what was read next.
    pub fn read(&mut self, bytes: &[u8]) -> Vec<Part> {
        let mut rest = std::mem::take(&mut self.begun);
        rest.extend_from_slice(bytes);
        let mut parts = Vec::new();
        let (mut text, mut at) = (0, 0);
        while let Some(escape) = find(&rest[at..], ESCAPE) {
            let begin = at + escape;
            match mark_at(&self.begin, &rest[begin..]) {
                Mark::Whole { length, work } => {
                    parts.extend(text_of(&rest[text..begin]));
                    parts.push(Part::Work(work));
                    at = begin + length;
                    text = at;
                }
                Mark::None => at = begin + 1,
                Mark::Begun => {
                    self.begun = rest.split_off(begin);
                    break;
                }
            }
        }
        parts.extend(text_of(&rest[text..]));
        parts
    }

    /// What is left at the end of the stream: no mark.
    pub fn end(self) -> Option<Part> {
        text_of(&self.begun)
    }
}

enum Mark {
    Whole {
        length: usize,
        work: Option<PodWork>,
    },
    /// It may become one.
    Begun,
    None,
}

/// What begins with these bytes.
fn mark_at(begin: &[u8], bytes: &[u8]) -> Mark {
    let begun = bytes.len().min(begin.len());
    if bytes[..begun] != begin[..begun] {
        return Mark::None;
    }
    let Some(inner) = bytes.get(begin.len()..) else { return Mark::Begun };
    let Some(length) = find(&inner[..inner.len().min(MAX_MARK_BYTES.saturating_sub(begin.len()))], END)
    else {
        return if bytes.len() < MAX_MARK_BYTES { Mark::Begun } else { Mark::None };
    };
    match work_in(&inner[..length]) {
        Some(work) => Mark::Whole { length: begin.len() + length + END.len(), work },
        None => Mark::None,
    }
}

fn work_in(inner: &[u8]) -> Option<Option<PodWork>> {
    let (request, job) = std::str::from_utf8(inner).ok()?.split_once(char::from(SEPARATOR))?;
    if request.chars().chain(job.chars()).any(char::is_control) {
        return None;
    }
    let job_id = (!job.is_empty()).then(|| job.to_owned());
    Some((!request.is_empty()).then(|| PodWork { request_id: request.to_owned(), job_id }))
}

fn text_of(bytes: &[u8]) -> Option<Part> {
    (!bytes.is_empty()).then(|| Part::Text(bytes.to_vec()))
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn work(request: &str, job: Option<&str>) -> PodWork {
        PodWork { request_id: request.to_owned(), job_id: job.map(str::to_owned) }
    }

    fn text(text: &str) -> Part {
        Part::Text(text.as_bytes().to_vec())
    }

    /// Reads in pieces of this size, and joins texts that were cut.
    fn read(bytes: &[u8], size: usize) -> Vec<Part> {
        let mut reader = MarkReader::new("n");
        let mut parts: Vec<Part> = bytes.chunks(size).flat_map(|chunk| reader.read(chunk)).collect();
        parts.extend(reader.end());
        let mut joined: Vec<Part> = Vec::new();
        for part in parts {
            match (joined.last_mut(), part) {
                (Some(Part::Text(before)), Part::Text(more)) => before.extend(more),
                (_, part) => joined.push(part),
            }
        }
        joined
    }

    #[test]
    fn marks_are_found_wherever_the_output_is_cut() {
        let (one, two) = (work("req-1", Some("job-1")), work("req-2", None));
        let marks = [Some(&one), Some(&two), None].map(|work| mark("n", work).unwrap());
        let bytes =
            [b"before\n".as_slice(), &marks[0], b"a\nb", &marks[1], &marks[2], b"\x1b[1mbold\n"].concat();
        let expected = [
            text("before\n"),
            Part::Work(Some(one)),
            text("a\nb"),
            Part::Work(Some(two)),
            Part::Work(None),
            text("\x1b[1mbold\n"),
        ];
        for size in 1..=bytes.len() {
            assert_eq!(read(&bytes, size), expected, "in pieces of {size}");
        }
    }

    #[test]
    fn what_is_no_mark_stays_text() {
        let long = format!("\x1b_flash\x1fn\x1f{}\x1f\x1b\\", "r".repeat(MAX_MARK_BYTES));
        for no_mark in [
            "\x1b_flash\x1fn\x1freq",
            "\x1b_flash\x1fn\x1freq\x1b\\",
            // With another nonce.
            "\x1b_flash\x1fm\x1freq\x1fjob\x1b\\",
            "\x1b_flash\x1fn\x1fa\nb\x1fc\x1b\\",
            "\x1b_flashy\x1fa\x1fb\x1b\\",
            "\x1b",
            "\x1b\x1b_",
            &long,
        ] {
            for size in [1, 3, 4096] {
                assert_eq!(
                    read(no_mark.as_bytes(), size),
                    [text(no_mark)],
                    "{no_mark:?} in pieces of {size}"
                );
            }
        }
    }

    #[test]
    fn output_is_held_back_only_where_a_mark_may_begin() {
        let mut reader = MarkReader::new("n");
        assert_eq!(reader.read(b"no newline"), [text("no newline")]);
        assert_eq!(reader.read(b"\x1b_fla"), []);
        assert_eq!(reader.read(b"g\n"), [text("\x1b_flag\n")]);
        // However much follows, no more than a mark is held back.
        assert_eq!(reader.read(b"\x1b_flash\x1fn\x1f"), []);
        let more = "x".repeat(2 * MAX_MARK_BYTES);
        assert_eq!(reader.read(more.as_bytes()), [text(&format!("\x1b_flash\x1fn\x1f{more}"))]);
    }

    #[test]
    fn ids_that_could_end_a_mark_have_none() {
        for id in ["a\x1b\\", "a\x1fb", "a\n", ""] {
            assert_eq!(mark("n", Some(&work(id, None))), None, "{id:?}");
        }
        assert_eq!(mark("n", Some(&work("a", Some("b\x1f")))), None);
        assert_eq!(mark("n", Some(&work(&"a".repeat(MAX_MARK_BYTES), None))), None);
    }
}
