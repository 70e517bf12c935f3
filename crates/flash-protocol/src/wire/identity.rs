//! IDs and names that come from outside, each with limits, because they appear in log lines, headers and listings.
//!
//! They may come from a header, an envelope in a body, a frame of the exchange or a worker's poll. All are converted
//! to these types, with the same limits. A request ID or trace that is not valid is ignored, and the receiver creates
//! a new one.
use std::{fmt, ops::Deref};

use serde::{Deserialize, Deserializer, Serialize};

/// The request ID, shared by a request and all calls below it: 1 to 128 visible ASCII characters.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct RequestId(Box<str>);

/// W3C trace context: version, trace, parent span and flags in lower-case hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct TraceParent(Box<str>);

/// The name of a function, as callers use it: `function`, or `Type::method`.
///
/// Any text is accepted, because only a look-up shows whether the function exists. Text over 256 bytes is cut; no
/// function has such a name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
#[serde(transparent)]
pub struct FunctionName(Box<str>);

impl RequestId {
    /// Maximum length.
    pub const MAX_BYTES: usize = 128;

    /// Parses a text; `None` if it is not valid.
    pub fn parse(text: &str) -> Option<Self> {
        let fits =
            (1..=Self::MAX_BYTES).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
        fits.then(|| Self(text.into()))
    }

    /// Creates a new ID.
    pub fn random() -> Self {
        Self(uuid::Uuid::new_v4().to_string().into())
    }
}

impl TraceParent {
    /// Parses a text; `None` if it is not valid.
    pub fn parse(text: &str) -> Option<Self> {
        let hex = |text: &str, digits: usize| {
            text.len() == digits && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
        };
        let is_set = |text: &str| text.bytes().any(|byte| byte != b'0');
        let mut parts = text.split('-');
        let [version, trace, span, flags] = [parts.next()?, parts.next()?, parts.next()?, parts.next()?];
        let fits = parts.next().is_none()
            && hex(version, 2)
            && version != "ff"
            && hex(trace, 32)
            && is_set(trace)
            && hex(span, 16)
            && is_set(span)
            && hex(flags, 2);
        fits.then(|| Self(text.into()))
    }

    /// The trace ID, without the span.
    pub fn trace(&self) -> &str {
        &self.0[3..35]
    }

    /// Starts a new trace.
    pub fn random() -> Self {
        Self(format!("00-{}-{}-01", uuid::Uuid::new_v4().simple(), new_span()).into())
    }

    /// A span of a trace. Zeros, which the specification does not allow as IDs, become ones.
    pub fn new(trace: u128, span: u64, sampled: Sampled) -> Self {
        let flags = match sampled {
            Sampled::Yes => "01",
            Sampled::No => "00",
        };
        Self(format!("00-{:032x}-{:016x}-{flags}", trace.max(1), span.max(1)).into())
    }

    /// Another span of the same trace, with the same flags.
    #[must_use]
    pub fn with_span(&self, span: u64) -> Self {
        Self(format!("{}{:016x}{}", &self.0[..36], span.max(1), &self.0[52..]).into())
    }

    /// The span ID.
    pub fn span(&self) -> &str {
        &self.0[36..52]
    }

    /// Whether its caller sends the spans of this trace somewhere.
    pub fn is_sampled(&self) -> bool {
        u8::from_str_radix(&self.0[53..], 16).is_ok_and(|flags| flags & 1 == 1)
    }
}

/// Whether the spans of a trace are sent somewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sampled {
    /// They are.
    Yes,
    /// They are not.
    No,
}

fn new_span() -> String {
    format!("{:016x}", uuid::Uuid::new_v4().as_u64_pair().1)
}

impl FunctionName {
    /// Maximum length.
    const MAX_BYTES: usize = 256;

    /// Creates a name; see the type for its limit.
    pub fn new(text: &str) -> Self {
        Self(text[..text.floor_char_boundary(Self::MAX_BYTES)].into())
    }
}

impl From<String> for FunctionName {
    fn from(text: String) -> Self {
        if text.len() <= Self::MAX_BYTES { Self(text.into()) } else { Self::new(&text) }
    }
}

impl<'de> Deserialize<'de> for FunctionName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::from)
    }
}

macro_rules! reads_as_text {
    ($($name:ident)*) => {$(
        impl Deref for $name {
            type Target = str;

            fn deref(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0.into()
            }
        }
    )*};
}

reads_as_text!(RequestId TraceParent FunctionName);

/// Decodes a field; a text that is not valid counts as missing.
pub(super) fn request_id<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<RequestId>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    Ok(text.and_then(|text| RequestId::parse(&text)))
}

/// See [`request_id`].
pub(super) fn trace_parent<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<TraceParent>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    Ok(text.and_then(|text| TraceParent::parse(&text)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_id_is_short_visible_ascii() {
        for good in ["r", "0190b6c0-d2f0-7c0a-8000-000000000000", &"x".repeat(128), "a/b:c;{}"] {
            assert_eq!(RequestId::parse(good).as_deref(), Some(good));
        }
        for bad in ["", " ", "a b", "a\nb", "ä", "a\u{1b}[2J", &"x".repeat(129), &"x".repeat(2_000_000)] {
            assert_eq!(RequestId::parse(bad), None, "{} bytes", bad.len());
        }
    }

    #[test]
    fn a_trace_is_that_of_the_specification() {
        let good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let trace = TraceParent::parse(good).unwrap();
        assert_eq!((&*trace, trace.trace()), (good, "4bf92f3577b34da6a3ce929d0e0e4736"));
        for bad in [
            "",
            "00",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-x",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            &"-".repeat(2_000_000),
        ] {
            assert_eq!(TraceParent::parse(bad), None, "{} bytes", bad.len());
        }
    }
    #[test]
    fn a_span_is_in_its_trace_and_sampled_as_the_trace_is() {
        for (sampled, is_sampled) in [(Sampled::Yes, true), (Sampled::No, false)] {
            let trace = TraceParent::new(0, 7, sampled);
            assert_eq!((trace.trace(), trace.span()), (format!("{:032x}", 1).as_str(), "0000000000000007"));
            let other = trace.with_span(u64::MAX);
            assert_eq!(TraceParent::parse(&other).as_ref(), Some(&other));
            assert_eq!((other.trace(), other.span()), (trace.trace(), "ffffffffffffffff"));
            assert_eq!((trace.is_sampled(), other.is_sampled()), (is_sampled, is_sampled));
            assert_eq!(trace.with_span(0).span(), "0000000000000001");
        }
        assert!(TraceParent::random().is_sampled());
        let other_flags =
            TraceParent::parse("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-02").unwrap();
        assert!(!other_flags.is_sampled());
    }

    #[test]
    fn a_function_name_is_cut_where_a_character_begins() {
        assert_eq!(&*FunctionName::new("Type::method"), "Type::method");
        let long = FunctionName::from("ä".repeat(1_000_000) + "x");
        assert_eq!(&*long, "ä".repeat(128).as_str());
        let odd = FunctionName::from("x".to_owned() + &"ä".repeat(1000));
        assert_eq!(odd.len(), 255);
    }
}
