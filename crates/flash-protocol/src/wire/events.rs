//! Server-sent events: written for a streaming route, and read from any source.
//!
//! In the answer of a route, each chunk is an event with an ID; its data is JSON. If the route fails after the head of
//! the answer, the last event is `error` and its data is a [`WireError`].
use std::{borrow::Cow, fmt::Write as _, time::Duration};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::exchange::MAX_RESULT_BYTES;
use crate::WireError;

/// The content type of event streams.
pub const CONTENT_TYPE: &str = "text/event-stream";

/// The name of the event for a failure.
pub const ERROR: &str = "error";

/// May begin a stream.
const BYTE_ORDER_MARK: char = '\u{feff}';

/// A comment: keeps a connection open on which nothing happens.
pub const KEEP_ALIVE: &str = ":\n\n";

/// How long a stream is silent before it gets a comment.
pub const KEEP_ALIVE_AFTER: Duration = Duration::from_secs(15);

/// What an event has beside its data.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Head<'a> {
    /// Its name; an ordinary event has none.
    pub name: Option<&'a str>,
    /// Its ID; a client that reconnects sends the last one.
    pub id: Option<&'a str>,
    /// How long a client waits before it reconnects.
    pub retry: Option<Duration>,
}

/// The text of one event. Line breaks, which would end a field, become spaces.
pub fn event(head: &Head<'_>, data: &RawValue) -> String {
    let Head { name, id, retry } = head;
    // In JSON strings line breaks are escaped, so in the data they can only be white space.
    let data = one_line(data.get());
    let mut text = String::with_capacity(data.len() + 32);
    let mut field = |name: &str, value: &str| {
        let _ = writeln!(text, "{name}: {value}");
    };
    if let Some(id) = id {
        // A NUL makes clients ignore the ID.
        field("id", &one_line(id).replace('\0', " "));
    }
    if let Some(name) = name {
        field("event", &one_line(name));
    }
    if let Some(retry) = retry {
        field("retry", &retry.as_millis().to_string());
    }
    field("data", &data);
    text.push('\n');
    text
}

fn one_line(text: &str) -> Cow<'_, str> {
    match text.contains(['\n', '\r']) {
        true => text.replace(['\n', '\r'], " ").into(),
        false => text.into(),
    }
}

/// The ID of an event that a worker keeps for a client that reconnects: `7-STREAM-WORKER`.
///
/// It tells the gateway the worker, and the worker the stream and how far the client has read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptId<'a> {
    /// The number of the event in its stream, from 1.
    pub number: u64,
    /// The stream: 32 random hexadecimal digits, so that nobody guesses those of others.
    pub stream: &'a str,
    /// The worker that keeps it; empty outside a platform.
    pub worker: &'a str,
}

impl<'a> KeptId<'a> {
    /// Reads the header `Last-Event-ID`; `None` for an ID of another kind.
    pub fn parse(text: &'a str) -> Option<Self> {
        let mut parts = text.splitn(3, '-');
        let (number, stream, worker) = (parts.next()?.parse().ok()?, parts.next()?, parts.next()?);
        let is_stream = stream.len() == 32 && stream.bytes().all(|byte| byte.is_ascii_hexdigit());
        is_stream.then_some(Self { number, stream, worker })
    }
}

impl std::fmt::Display for KeptId<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}-{}", self.number, self.stream, self.worker)
    }
}

/// In the schema of a chunk: it is a [`NamedChunk`].
pub const NAMED_CHUNK_KEYWORD: &str = "x-flash-event";

/// The JSON of a chunk that says how its event looks.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct NamedChunk<D> {
    /// The data of the event.
    pub data: D,
    /// Its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event: Option<String>,
    /// Its ID. Without one, it is numbered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Milliseconds until a client reconnects.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_ms: Option<u64>,
}

/// The event of a failure.
pub fn error(error: &WireError) -> String {
    let data = serde_json::to_string(error).expect("an error always serialises");
    format!("event: {ERROR}\ndata: {data}\n\n")
}

/// One event.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Event {
    /// The latest ID in the stream, of this event or an earlier one; empty if there was none.
    pub id: String,
    /// Empty for an ordinary event.
    pub name: String,
    /// The data; several lines are joined.
    pub data: String,
}

/// An event is longer than the reader accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an event has over {limit} bytes")]
pub struct TooLong {
    limit: usize,
}

/// Parses events from bytes, as the HTML standard describes it. Lines end with LF, CRLF or CR. Comments, `retry` and
/// unknown fields are skipped.
#[derive(Debug)]
pub struct Events {
    /// The longest event.
    limit: usize,
    /// The incomplete last line.
    line: Vec<u8>,
    /// Whether the last byte was a carriage return; a line feed after it does not end another line.
    after_return: bool,
    /// Whether a line has ended. Only the first one may begin with a byte order mark.
    after_line: bool,
    /// The ID of the event that is being read, or of the one before it.
    id: String,
    /// The ID of the last complete event.
    last_id: String,
    name: String,
    data: Option<String>,
}

impl Default for Events {
    /// Reads the answer of a route.
    fn default() -> Self {
        Self::up_to(MAX_RESULT_BYTES)
    }
}

impl Events {
    /// Reads a stream whose events have at most this many bytes.
    pub fn up_to(limit: usize) -> Self {
        Self {
            limit,
            line: Vec::new(),
            after_return: false,
            after_line: false,
            id: String::new(),
            last_id: String::new(),
            name: String::new(),
            data: None,
        }
    }

    /// A reader for the same stream after a break. An event that was not complete is sent again as a whole.
    #[must_use]
    pub fn resumed(&self) -> Self {
        Self { id: self.last_id.clone(), last_id: self.last_id.clone(), ..Self::up_to(self.limit) }
    }

    /// What to resume after: the value for `Last-Event-ID`; empty if no event had an ID.
    pub fn last_id(&self) -> &str {
        &self.last_id
    }

    /// Adds bytes and returns the events that are now complete.
    ///
    /// # Errors
    /// [`TooLong`] if an event, or what has arrived of one, exceeds the limit. It is checked once, after the last of the
    /// bytes, for the event that is then incomplete: one that they complete may be too long by as much as they are.
    pub fn push(&mut self, bytes: &[u8]) -> Result<Vec<Event>, TooLong> {
        let mut events = Vec::new();
        let mut rest = bytes;
        while let Some(end) = rest.iter().position(|byte| matches!(byte, b'\n' | b'\r')) {
            let (text, from_end) = rest.split_at(end);
            let is_rest_of_end = text.is_empty() && from_end[0] == b'\n' && self.after_return;
            self.after_return = from_end[0] == b'\r';
            rest = &from_end[1..];
            if !is_rest_of_end {
                self.line.extend_from_slice(text);
                let line = std::mem::take(&mut self.line);
                events.extend(self.end_line(&String::from_utf8_lossy(&line)));
            }
        }
        if !rest.is_empty() {
            self.after_return = false;
            self.line.extend_from_slice(rest);
        }
        match self.line.len() + self.data.as_ref().map_or(0, String::len) > self.limit {
            true => Err(TooLong { limit: self.limit }),
            false => Ok(events),
        }
    }

    fn end_line(&mut self, line: &str) -> Option<Event> {
        let is_first = !std::mem::replace(&mut self.after_line, true);
        let line = line.strip_prefix(BYTE_ORDER_MARK).filter(|_| is_first).unwrap_or(line);
        if line.is_empty() {
            self.last_id.clone_from(&self.id);
            let name = std::mem::take(&mut self.name);
            return self.data.take().map(|data| Event { id: self.last_id.clone(), name, data });
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match (field, &mut self.data) {
            ("event", _) => value.clone_into(&mut self.name),
            ("id", _) if !value.contains('\0') => value.clone_into(&mut self.id),
            ("data", Some(data)) => {
                data.push('\n');
                data.push_str(value);
            }
            ("data", none) => *none = Some(value.to_owned()),
            _ => {}
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;

    const TEXT: &str = concat!(
        "\u{feff}data: {\"a\":\"é\"}\n\n",
        ": a comment\n\n",
        "event: error\ndata: 1\ndata:2\ndata:  3\n\n",
        "id: 7\nretry: 10\ndata\n\n",
        "\u{feff}data: no field\ndata: x\n\n",
        "id: bad\0\nid-of-mine: 8\ndata:\ndata:\n\n",
        "id\ndata: y\n\n",
        "id: 9\nevent: unused\n\n",
        "id: 10\ndata: unfinished",
    );

    fn expected() -> Vec<Event> {
        let event = |id: &str, name: &str, data: &str| Event {
            id: id.to_owned(),
            name: name.to_owned(),
            data: data.to_owned(),
        };
        vec![
            event("", "", "{\"a\":\"é\"}"),
            event("", "error", "1\n2\n 3"),
            event("7", "", ""),
            event("7", "", "x"),
            event("7", "", "\n"),
            event("", "", "y"),
        ]
    }

    /// The text with each kind of line end.
    fn texts() -> [String; 3] {
        [TEXT.to_owned(), TEXT.replace('\n', "\r\n"), TEXT.replace('\n', "\r")]
    }

    #[test]
    fn events_are_whole_wherever_their_bytes_are_cut_and_however_their_lines_end() {
        for text in texts() {
            for cut in 0..=text.len() {
                let (first, second) = text.as_bytes().split_at(cut);
                let mut events = Events::default();
                let mut found = events.push(first).unwrap();
                found.extend(events.push(second).unwrap());
                assert_eq!(found, expected(), "{cut} of {text:?}");
                assert_eq!(events.last_id(), "9");
            }
            let mut one_by_one = Events::default();
            let found: Vec<Event> = text.bytes().flat_map(|byte| one_by_one.push(&[byte]).unwrap()).collect();
            assert_eq!(found, expected());
        }
    }

    #[test]
    fn line_ends_may_be_mixed() {
        let mut events = Events::default();
        let found = events.push(b"data: 1\r\rdata: 2\r\n\ndata: 3\n\r\ndata: 4\n\r").unwrap();
        let data: Vec<&str> = found.iter().map(|event| event.data.as_str()).collect();
        assert_eq!(data, ["1", "2", "3", "4"]);
    }

    #[test]
    fn after_a_break_the_stream_goes_on_after_the_last_whole_event() {
        let mut events = Events::default();
        events.push(b"id: 1\ndata: a\n\nid: 2\ndata: half").unwrap();
        let mut again = events.resumed();
        assert_eq!(again.last_id(), "1");
        let found = again.push(b"\xef\xbb\xbfdata: b\n\n").unwrap();
        assert_eq!(found, [Event { id: "1".to_owned(), data: "b".to_owned(), ..Event::default() }]);
    }

    #[test]
    fn what_is_written_is_read_and_line_ends_within_json_change_nothing() {
        let raw = RawValue::from_string("{\"text\": \"a\\nb\",\r\n \"n\": [1,\n2]}".to_owned()).unwrap();
        let failure = WireError::new(ErrorKind::Panic, "line\nend");
        let head = Head { name: Some("a\nb"), id: Some("7\r8"), retry: Some(Duration::from_secs(2)) };
        let text = event(&head, &raw) + &error(&failure);
        let events = Events::default().push(text.as_bytes()).unwrap();
        let [first, last] = events.as_slice() else { panic!("{events:?}") };
        assert_eq!(
            serde_json::from_str::<serde_json::Value>(&first.data).unwrap(),
            serde_json::from_str::<serde_json::Value>(raw.get()).unwrap()
        );
        assert_eq!((first.name.as_str(), first.id.as_str(), last.name.as_str()), ("a b", "7 8", ERROR));
        assert!(text.contains("\nretry: 2000\n"), "{text}");
        assert_eq!(serde_json::from_str::<WireError>(&last.data).unwrap(), failure);
    }

    #[test]
    fn an_endless_event_is_refused() {
        let mut events = Events::default();
        let bytes = vec![b'x'; MAX_RESULT_BYTES / 2 + 1];
        assert_eq!(events.push(&bytes), Ok(Vec::new()));
        assert_eq!(events.push(&bytes), Err(TooLong { limit: MAX_RESULT_BYTES }));
        assert_eq!(
            Events::up_to(3).push(b"data: 1234\n").unwrap_err().to_string(),
            "an event has over 3 bytes"
        );
    }

    #[test]
    fn the_id_of_a_kept_event_is_read_as_it_is_written() {
        let id = KeptId { number: 7, stream: &"0a".repeat(16), worker: "web-1" };
        assert_eq!(KeptId::parse(&id.to_string()), Some(id));
    }
}
