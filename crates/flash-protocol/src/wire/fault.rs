//! Messages for JSON that cannot be decoded.
//!
//! serde's messages contain the whole refused value, which may be secret or long. The messages here only name its
//! type and what was expected.
use crate::error::cut;

/// What is wrong, without the value, cut at 200 characters; with line and column if the text is not valid JSON.
pub fn fault(error: &serde_json::Error) -> String {
    cut(without_value(&error.to_string()))
}

/// [`fault`] for one field; with line and column only if the text is not valid JSON.
pub fn fault_of_field(error: &serde_json::Error) -> String {
    let text = error.to_string();
    match text.rsplit_once(" at line ") {
        Some((message, _)) if error.is_data() => cut(without_value(message)),
        _ => cut(without_value(&text)),
    }
}

/// In serde's messages about a wrong type or range, the value is between its kind and what was expected.
fn without_value(message: &str) -> String {
    for about in ["invalid type: ", "invalid value: "] {
        if let Some((value, expected)) =
            message.strip_prefix(about).and_then(|rest| rest.rsplit_once(", expected "))
        {
            let kind = value.split(['"', '`']).next().unwrap_or_default().trim_end();
            return format!("{about}{kind}, expected {expected}");
        }
    }
    let variants =
        message.strip_prefix("unknown variant `").and_then(|rest| rest.rsplit_once("`, expected "));
    match variants {
        Some((_, expected)) => format!("unknown variant, expected {expected}"),
        None => message.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(rename_all = "snake_case")]
    enum Shape {
        Circle,
        Square,
    }

    fn refused<T: serde::de::DeserializeOwned + std::fmt::Debug>(text: &str) -> String {
        fault(&serde_json::from_str::<T>(text).unwrap_err())
    }

    #[test]
    fn a_refused_value_is_not_repeated() {
        let secret = "hunter2, expected \\\"`";
        let text = format!("\"{secret}\"");
        assert_eq!(refused::<u8>(&text), "invalid type: string, expected u8 at line 1 column 23");
        assert_eq!(
            refused::<char>("\"hunter2\""),
            "invalid value: string, expected a character at line 1 column 9"
        );
        assert_eq!(refused::<u8>("4711"), "invalid value: integer, expected u8 at line 1 column 4");
        assert_eq!(
            refused::<Shape>("\"hunter2\""),
            "unknown variant, expected `circle` or `square` at line 1 column 9"
        );
        assert_eq!([Shape::Circle, Shape::Square].len(), 2);
    }

    #[test]
    fn text_that_is_not_json_is_refused_with_its_place() {
        assert_eq!(
            refused::<serde_json::Value>("{\n \"a\": \"\\ud800\"}"),
            "unexpected end of hex escape at line 2 column 14"
        );
        let deep = "[".repeat(200);
        assert!(refused::<serde_json::Value>(&deep).starts_with("recursion limit exceeded at line 1"));
    }

    #[test]
    fn what_is_said_is_short_whatever_it_is_about() {
        let long = format!("\"{}\"", "x".repeat(200_000));
        assert!(refused::<Shape>(&long).len() < 250);
    }
}
