//! Header fields within a frame.
use std::fmt;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};

/// The header fields of a request or an answer, in their order. Names are in lower case.
#[derive(PartialEq, Eq, Default)]
pub struct Fields(pub Vec<(Box<str>, Bytes)>);

impl Fields {
    /// The value of a header, if it is text. The first one, of several.
    pub fn text(&self, name: &str) -> Option<&str> {
        let (_, value) = self.0.iter().find(|(own, _)| **own == *name)?;
        std::str::from_utf8(value).ok()
    }

    /// All of a message.
    pub fn of(headers: &HeaderMap) -> Self {
        let field = |(name, value): (&HeaderName, &HeaderValue)| {
            (name.as_str().into(), Bytes::copy_from_slice(value.as_bytes()))
        };
        Self(headers.iter().map(field).collect())
    }

    /// The same as a map; `None` if a name or a value is none of HTTP.
    pub fn into_headers(self) -> Option<HeaderMap> {
        // A map takes a limited number, which a frame stays far below.
        let mut headers = HeaderMap::try_with_capacity(self.0.len()).ok()?;
        for (name, value) in self.0 {
            let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
            headers.try_append(name, HeaderValue::from_maybe_shared(value).ok()?).ok()?;
        }
        Some(headers)
    }
}

impl fmt::Debug for Fields {
    /// Without values, some of which are secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|(name, _)| name)).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_survive_the_way_with_their_order_and_bytes() {
        let mut headers = HeaderMap::new();
        headers.append("x-own", HeaderValue::from_bytes(b"\xff").unwrap());
        headers.append("x-own", HeaderValue::from_static("2"));
        assert_eq!(Fields::of(&headers).into_headers().unwrap(), headers);
    }

    #[test]
    fn what_is_no_header_is_refused() {
        for (name, value) in [("no name", "1"), ("", "1"), ("x", "\n")] {
            let fields = Fields(vec![(name.into(), Bytes::from_static(value.as_bytes()))]);
            assert!(fields.into_headers().is_none(), "{name:?}: {value:?}");
        }
    }

    #[test]
    fn what_headers_say_is_in_no_log() {
        let fields = Fields(vec![("authorization".into(), "Bearer secret".into())]);
        assert_eq!(format!("{fields:?}"), r#"["authorization"]"#);
    }
}
