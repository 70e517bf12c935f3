//! The body of `run` and `runsync`, as a client writes it.
use serde::Serialize;
use serde_json::value::RawValue;

use super::{
    envelope::{self, Envelope},
    job::Policy,
};

#[derive(Serialize)]
struct Body<'a> {
    input: &'a RawValue,
    #[serde(skip_serializing_if = "Option::is_none")]
    webhook: Option<&'a str>,
    #[serde(skip_serializing_if = "Policy::is_default")]
    policy: Policy,
}

/// The JSON text. If a function is named, the input contains the envelope. Otherwise the job is for a program, which
/// gets its input unchanged.
pub fn body(envelope: &Envelope, input: &RawValue, webhook: Option<&str>, policy: Policy) -> String {
    let sealed = envelope.function.as_ref().map(|_| envelope::seal(envelope, input));
    let body = Body { input: sealed.as_deref().unwrap_or(input), webhook, policy };
    serde_json::to_string(&body).expect("JSON text, strings and numbers always serialise")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::identity::FunctionName;

    #[test]
    fn a_foreign_worker_gets_its_input_as_it_is_and_ours_the_envelope() {
        let input = RawValue::from_string("{\"a\":1}".to_owned()).unwrap();
        let text = |function: Option<&str>, policy| {
            let envelope = Envelope { function: function.map(FunctionName::new), ..Envelope::default() };
            body(&envelope, &input, None, policy)
        };
        assert_eq!(text(None, Policy::default()), r#"{"input":{"a":1}}"#);
        assert_eq!(text(Some("f"), Policy::default()), r#"{"input":{"__flash":{"function":"f"},"a":1}}"#);
        let low = Policy { low_priority: true, ttl: Some(10_000), ..Policy::default() };
        assert_eq!(text(None, low), r#"{"input":{"a":1},"policy":{"ttl":10000,"lowPriority":true}}"#);
    }
}
