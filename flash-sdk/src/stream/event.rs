//! Chunks that say how they look as server-sent events.
use std::{borrow::Cow, time::Duration};

use flash_protocol::wire::events::{NAMED_CHUNK_KEYWORD, NamedChunk};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A chunk with a name, an ID or a pause, for a route that streams server-sent events.
///
/// Other chunks are events without a name, numbered from 1. As a chunk of a job, and for callers in Rust, it is a value
/// like any other: `{"data": …, "event": "token", "id": "7"}`.
///
/// ```
/// use flash_sdk::{Result, remote, stream::{self, Event, Stream}};
///
/// #[remote(cpu = Cpu3c_1_2, method = GET, path = "/answer")]
/// pub fn answer() -> impl Stream<Item = Result<Event<String>>> + Send {
///     stream::iter([
///         Ok(Event::new("once".to_owned()).named("token")),
///         Ok(Event::new("stop".to_owned()).named("end")),
///     ])
/// }
/// # fn main() {}
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Event<T> {
    /// The data, sent as JSON.
    pub data: T,
    /// The name, for `addEventListener` in browsers. `error` is the name of failures, so a route refuses it.
    pub name: Option<String>,
    /// The ID. A client that reconnects sends the last one: see
    /// [`Context::last_event_id`](crate::Context::last_event_id). By default, events are numbered from 1.
    pub id: Option<String>,
    /// How long a client waits before it reconnects, in whole milliseconds. Clients keep the last value.
    pub retry: Option<Duration>,
}

impl<T> Event<T> {
    /// An event without a name.
    pub const fn new(data: T) -> Self {
        Self { data, name: None, id: None, retry: None }
    }

    /// The same event with a name.
    #[must_use]
    pub fn named(self, name: impl Into<String>) -> Self {
        Self { name: Some(name.into()), ..self }
    }

    /// The same event with an ID.
    #[must_use]
    pub fn with_id(self, id: impl Into<String>) -> Self {
        Self { id: Some(id.into()), ..self }
    }

    /// The same event with the pause before clients reconnect.
    #[must_use]
    pub fn with_retry(self, retry: Duration) -> Self {
        Self { retry: Some(retry), ..self }
    }
}

impl<T: Serialize> Serialize for Event<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let retry_ms = self.retry.map(|retry| u64::try_from(retry.as_millis()).unwrap_or(u64::MAX));
        let (event, id) = (self.name.clone(), self.id.clone());
        NamedChunk { data: &self.data, event, id, retry_ms }.serialize(serializer)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Event<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let NamedChunk { data, event, id, retry_ms } = NamedChunk::deserialize(deserializer)?;
        Ok(Self { data, name: event, id, retry: retry_ms.map(Duration::from_millis) })
    }
}

impl<T: JsonSchema> JsonSchema for Event<T> {
    fn schema_name() -> Cow<'static, str> {
        format!("Event_of_{}", T::schema_name()).into()
    }

    fn schema_id() -> Cow<'static, str> {
        format!("flash_sdk::stream::Event<{}>", T::schema_id()).into()
    }

    /// So that its keyword is found without looking at definitions.
    fn inline_schema() -> bool {
        true
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let mut schema = json_schema!({
            "type": "object",
            "properties": {
                "data": generator.subschema_for::<T>(),
                "event": { "type": ["string", "null"] },
                "id": { "type": ["string", "null"] },
                "retry_ms": { "type": ["integer", "null"], "minimum": 0 },
            },
            "required": ["data"],
        });
        schema.insert(NAMED_CHUNK_KEYWORD.to_owned(), true.into());
        schema
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_event_is_a_value_like_any_other() {
        let event = Event::new(7).named("token").with_id("a").with_retry(Duration::from_secs(2));
        let text = json!({ "data": 7, "event": "token", "id": "a", "retry_ms": 2000 });
        assert_eq!(serde_json::to_value(&event).unwrap(), text);
        assert_eq!(serde_json::from_value::<Event<i32>>(text).unwrap(), event);
        assert_eq!(serde_json::to_value(Event::new("x")).unwrap(), json!({ "data": "x" }));
    }
}
