//! Server-sent events: the answer of a streaming route.
//!
//! Each chunk is an event without a name; its data is JSON. If the route fails after the head of the answer, the last
//! event is `error` and its data is a [`WireError`].
use serde_json::value::RawValue;

use super::exchange::MAX_RESULT_BYTES;
use crate::WireError;

/// The content type of event streams.
pub const CONTENT_TYPE: &str = "text/event-stream";

/// The name of the event for a failure.
pub const ERROR: &str = "error";

/// The event of one chunk.
pub fn chunk(chunk: &RawValue) -> String {
    match chunk.get() {
        // A line break would end the data. In JSON strings it is escaped, so here it can only be white space.
        text if text.contains(['\n', '\r']) => format!("data: {}\n\n", text.replace(['\n', '\r'], " ")),
        text => format!("data: {text}\n\n"),
    }
}

/// The event of a failure.
pub fn error(error: &WireError) -> String {
    let data = serde_json::to_string(error).expect("an error always serialises");
    format!("event: {ERROR}\ndata: {data}\n\n")
}

/// One event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Empty for an ordinary event.
    pub name: String,
    /// The data; several lines are joined.
    pub data: String,
}

/// An event is longer than the limit of a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an event has over {MAX_RESULT_BYTES} bytes")]
pub struct TooLong;

/// Parses events from bytes.
#[derive(Debug, Default)]
pub struct Events {
    /// The incomplete last line.
    line: Vec<u8>,
    /// Whether the last byte was a carriage return; a line feed after it does not end another line.
    after_return: bool,
    name: String,
    data: Option<String>,
}

impl Events {
    /// Adds bytes and returns the events that are now complete.
    ///
    /// # Errors
    /// [`TooLong`] if the bytes are not an answer of a route.
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
        match self.line.len() + self.data.as_ref().map_or(0, String::len) > MAX_RESULT_BYTES {
            true => Err(TooLong),
            false => Ok(events),
        }
    }

    fn end_line(&mut self, line: &str) -> Option<Event> {
        if line.is_empty() {
            let name = std::mem::take(&mut self.name);
            return self.data.take().map(|data| Event { name, data });
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match (field, &mut self.data) {
            ("event", _) => value.clone_into(&mut self.name),
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

    #[test]
    fn events_are_whole_however_their_bytes_come_and_their_lines_end() {
        let text = "data: {\"a\":\"é\"}\n\n: a comment\n\nevent: error\ndata: 1\ndata:2\n\nid: 7\ndata\n\ndata: unfinished";
        let event = |name: &str, data: &str| Event { name: name.to_owned(), data: data.to_owned() };
        let expected = [event("", "{\"a\":\"é\"}"), event("error", "1\n2"), event("", "")];
        for text in [text.to_owned(), text.replace('\n', "\r\n"), text.replace('\n', "\r")] {
            assert_eq!(Events::default().push(text.as_bytes()).unwrap(), expected);
            let mut one_by_one = Events::default();
            let found: Vec<Event> = text.bytes().flat_map(|byte| one_by_one.push(&[byte]).unwrap()).collect();
            assert_eq!(found, expected);
        }
    }

    #[test]
    fn what_is_written_is_read_and_line_ends_within_json_change_nothing() {
        let raw = RawValue::from_string("{\"text\": \"a\\nb\",\r\n \"n\": [1,\n2]}".to_owned()).unwrap();
        let failure = WireError::new(ErrorKind::Panic, "line\nend");
        let text = chunk(&raw) + &error(&failure);
        let events = Events::default().push(text.as_bytes()).unwrap();
        let [first, last] = events.as_slice() else { panic!("{events:?}") };
        assert_eq!(
            serde_json::from_str::<serde_json::Value>(&first.data).unwrap(),
            serde_json::from_str::<serde_json::Value>(raw.get()).unwrap()
        );
        assert_eq!((first.name.as_str(), last.name.as_str()), ("", ERROR));
        assert_eq!(serde_json::from_str::<WireError>(&last.data).unwrap(), failure);
    }

    #[test]
    fn an_endless_event_is_refused() {
        let mut events = Events::default();
        let bytes = vec![b'x'; MAX_RESULT_BYTES / 2 + 1];
        assert_eq!(events.push(&bytes), Ok(Vec::new()));
        assert_eq!(events.push(&bytes), Err(TooLong));
    }
}
