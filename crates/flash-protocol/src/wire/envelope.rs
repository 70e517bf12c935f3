//! The call envelope: the function that a job is for, and what it inherits from its caller.
//!
//! On Runpod, only a job's `input` reaches the worker, so the envelope is inside the input under the reserved key
//! `__flash`. The Flash platform sends it next to the input instead.
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{
    RawJson,
    identity::{self, FunctionName, RequestId, TraceParent},
};

/// The reserved key.
pub const KEY: &str = "__flash";

/// What a call inherits.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Envelope {
    /// `function`, or `Type::method`; absent if the worker type has one function.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub function: Option<FunctionName>,
    /// The request that the call belongs to.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "identity::request_id")]
    pub request_id: Option<RequestId>,
    /// W3C trace context.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "identity::trace_parent")]
    pub traceparent: Option<TraceParent>,
    /// When the caller stops waiting: milliseconds since the Unix epoch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deadline_ms: Option<u64>,
    /// How many calls are above this one.
    #[serde(skip_serializing_if = "is_zero")]
    pub depth: u32,
    /// Whether this is one of many calls made at once, as by `map`. The Flash platform then starts workers for
    /// waiting calls without delay.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub fan_out: bool,
    /// How often it runs again after a retryable error, instead of what the function says; 0 for never.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retries: Option<u32>,
}

impl Envelope {
    /// The headers of a request that belongs to a call: everything but the function, the fan-out and the retries.
    pub fn trace_headers(&self) -> impl Iterator<Item = (&'static str, String)> {
        let depth = (self.depth > 0).then(|| self.depth.to_string());
        [
            ("x-request-id", self.request_id.clone().map(String::from)),
            ("traceparent", self.traceparent.clone().map(String::from)),
            ("x-flash-deadline-ms", self.deadline_ms.map(|deadline| deadline.to_string())),
            ("x-flash-depth", depth),
        ]
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)))
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// An input wrapped so that the envelope can be next to it: one that is not a JSON object, or that could be taken for
/// this. An object with more members than these two is an input.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wrapped {
    #[serde(rename = "__flash")]
    envelope: Envelope,
    #[serde(rename = "__input")]
    input: RawJson,
}

/// Puts the envelope into an input.
pub fn seal(envelope: &Envelope, input: &RawValue) -> RawJson {
    let text = input.get().trim();
    // A key may be written with escapes, such as `\u005f`.
    let may_be_taken_for_wrapped = |rest: &str| rest.contains("__input") || rest.contains("\\u00");
    let sealed = match text.strip_prefix('{').filter(|rest| !may_be_taken_for_wrapped(rest)) {
        Some(rest) => {
            let head = serde_json::to_string(envelope).expect("an envelope always serialises");
            let comma = if rest.trim_start().starts_with('}') { "" } else { "," };
            RawValue::from_string(format!("{{\"{KEY}\":{head}{comma}{rest}"))
        }
        None => {
            serde_json::value::to_raw_value(&Wrapped { envelope: envelope.clone(), input: input.to_owned() })
        }
    };
    sealed.expect("an object with one more member stays JSON")
}

/// Takes the envelope out of an input. An input without one is returned unchanged.
///
/// It first searches for the key as text, so that most inputs are not parsed twice.
pub fn open(input: RawJson) -> (Envelope, RawJson) {
    if !input.get().contains("\"__flash\"") {
        return (Envelope::default(), input);
    }
    if let Ok(Wrapped { envelope, input }) = serde_json::from_str(input.get()) {
        return (envelope, input);
    }
    let members: Result<serde_json::Map<String, serde_json::Value>, _> = serde_json::from_str(input.get());
    let Ok(mut members) = members else { return (Envelope::default(), input) };
    let Some(Ok(envelope)) = members.get(KEY).map(Envelope::deserialize) else {
        return (Envelope::default(), input);
    };
    members.remove(KEY);
    let rest = serde_json::value::to_raw_value(&members).expect("a JSON object always serialises");
    (envelope, rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(text: &str) -> RawJson {
        RawValue::from_string(text.to_owned()).unwrap()
    }

    #[test]
    fn an_envelope_rides_in_any_input() {
        let envelope = Envelope {
            function: Some(FunctionName::new("Sentiment::classify")),
            request_id: RequestId::parse("r"),
            traceparent: None,
            deadline_ms: Some(17),
            depth: 3,
            fan_out: true,
            retries: Some(2),
        };
        for text in [
            "{}",
            "{ }",
            "{\"a\":1}",
            " {\"a\":{\"__flash\":2}} ",
            "{\"__input\":[1,2]}",
            "{\"__inp\\u0075t\":7}",
            "{\"__input\":{},\"__flah\":{\"deadline_ms\":17}}",
            "[1,2]",
            "null",
            "\"__flash\"",
        ] {
            let (opened, input) = open(seal(&envelope, &raw(text)));
            assert_eq!(opened, envelope, "{text}");
            let (before, after): (serde_json::Value, serde_json::Value) =
                (serde_json::from_str(text).unwrap(), serde_json::from_str(input.get()).unwrap());
            assert_eq!(before, after);
        }
    }

    #[test]
    fn what_names_nothing_is_bounded_or_left_out() {
        let long = "x".repeat(2_000_000);
        let text = format!(
            r#"{{"a":1,"__flash":{{"request_id":"{long}","traceparent":"{long}","function":"{long}","depth":2}}}}"#
        );
        let (envelope, input) = open(raw(&text));
        assert_eq!((envelope.request_id, envelope.traceparent, envelope.depth), (None, None, 2));
        assert_eq!(envelope.function.unwrap().len(), 256);
        assert_eq!(input.get(), r#"{"a":1}"#);
    }

    #[test]
    fn an_input_without_one_is_untouched() {
        for text in ["{\"text\":\"__flash\"}", "null", "{\"x\":{\"__flash\":{}}}", "{\"__flash\":7}"] {
            let (envelope, input) = open(raw(text));
            assert_eq!(envelope, Envelope::default(), "{text}");
            assert_eq!(input.get(), text);
        }
    }
}
