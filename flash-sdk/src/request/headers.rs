//! The headers of a request, as an argument of a route.
use std::{borrow::Cow, collections::BTreeMap};

use http::{HeaderMap, HeaderName, HeaderValue, header};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::part::RequestPart;
use crate::descriptor::{Input, Outgoing, Part};

/// An argument of type `HeaderMap`, as the macro wraps it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Headers(pub HeaderMap);

/// Headers of a caller that the call sets itself, or that belong to one connection.
const OWN: [HeaderName; 9] = [
    header::HOST,
    header::CONTENT_LENGTH,
    header::CONTENT_TYPE,
    header::CONTENT_ENCODING,
    header::TRANSFER_ENCODING,
    header::CONNECTION,
    header::UPGRADE,
    header::EXPECT,
    header::AUTHORIZATION,
];

impl RequestPart for Headers {
    const PART: Part = Part::Headers;

    fn is_optional() -> bool {
        true
    }

    fn read(input: &Input) -> Result<Self, String> {
        Ok(Self(input.headers.clone()))
    }

    fn write(&self, outgoing: &mut Outgoing) {
        outgoing.headers.extend(self.0.clone());
    }
}

/// What a call may send of its caller's headers: not what it sets itself, and nothing of Flash's own.
pub(crate) fn sendable(headers: &HeaderMap) -> impl Iterator<Item = (&HeaderName, &HeaderValue)> {
    let is_own = |name: &HeaderName| {
        OWN.contains(name)
            || name == "x-request-id"
            || name == "traceparent"
            || name.as_str().starts_with("x-flash-")
    };
    headers.iter().filter(move |(name, _)| !is_own(name))
}

impl Serialize for Headers {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        serializer.collect_map(self.0.iter().map(|(name, value)| (name.as_str(), text(value))))
    }
}

impl<'de> Deserialize<'de> for Headers {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut headers = HeaderMap::new();
        for (name, value) in BTreeMap::<String, String>::deserialize(deserializer)? {
            let name: HeaderName = name.parse().map_err(serde::de::Error::custom)?;
            headers.append(name, value.parse().map_err(serde::de::Error::custom)?);
        }
        Ok(Self(headers))
    }
}

impl JsonSchema for Headers {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Headers".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "object", "additionalProperties": { "type": "string" } })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_sends_its_callers_headers_but_not_what_it_sets_itself() {
        let mut headers = HeaderMap::new();
        for name in ["host", "content-type", "x-request-id", "x-flash-depth", "authorization", "x-tenant"] {
            headers.append(name, HeaderValue::from_static("a"));
        }
        headers.append("x-tenant", HeaderValue::from_static("b"));
        let sent: Vec<_> =
            sendable(&headers).map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
        assert_eq!(sent, [("x-tenant", &b"a"[..]), ("x-tenant", b"b")]);
    }
}
