//! Server-sent events, out of the bytes that they come in.

/// One event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Event {
    /// Empty for an ordinary one.
    pub name: String,
    pub data: String,
}

/// Bytes that have come and are no whole event yet.
#[derive(Default)]
pub(super) struct Events {
    bytes: Vec<u8>,
}

impl Events {
    /// Adds bytes; answers with the events that they complete.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Vec<Event> {
        self.bytes.extend_from_slice(bytes);
        let mut events = Vec::new();
        while let Some(end) = self.bytes.windows(2).position(|pair| pair == b"\n\n") {
            let block: Vec<u8> = self.bytes.drain(..end + 2).collect();
            events.extend(parse(&String::from_utf8_lossy(&block)));
        }
        events
    }
}

fn parse(block: &str) -> Option<Event> {
    let field = |line: &str, name: &str| {
        line.strip_prefix(name)?.strip_prefix(':').map(|value| value.trim_start().to_owned())
    };
    let name = block.lines().find_map(|line| field(line, "event")).unwrap_or_default();
    let data: Vec<String> = block.lines().filter_map(|line| field(line, "data")).collect();
    (!data.is_empty()).then(|| Event { name, data: data.join("\n") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_whole_however_their_bytes_come() {
        let text = "data: {\"a\":\"é\"}\n\n: a comment\n\nevent: error\ndata: 1\ndata: 2\n\ndata: unfinished";
        let event = |name: &str, data: &str| Event { name: name.to_owned(), data: data.to_owned() };
        let expected = [event("", "{\"a\":\"é\"}"), event("error", "1\n2")];
        assert_eq!(Events::default().push(text.as_bytes()), expected);
        let mut one_by_one = Events::default();
        let found: Vec<Event> = text.bytes().flat_map(|byte| one_by_one.push(&[byte])).collect();
        assert_eq!(found, expected);
    }
}
