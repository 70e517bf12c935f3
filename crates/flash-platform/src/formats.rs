//! Text formats of JSON Schema, as parsed by the types for which `schemars` writes them.
//!
//! A format is checked here if serde checks it too: dates of `chrono` and `jiff`, UUIDs, addresses, URLs. The
//! function checks all others. What is rejected here is rejected without a worker.
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use jiff::civil;

/// Whether a text has this format.
pub fn fits(format: &str, text: &str) -> bool {
    match format {
        "date" => is_date(text),
        "date-time" => is_timestamp(text),
        "partial-date-time" => {
            split_moment(text).is_some_and(|(date, time)| is_date(date) && is_time(time, Seconds::Optional))
        }
        "partial-time" => is_time(text, Seconds::Optional),
        "uuid" => uuid::Uuid::try_parse(text).is_ok(),
        "ip" => text.parse::<IpAddr>().is_ok(),
        "ipv4" => text.parse::<Ipv4Addr>().is_ok(),
        "ipv6" => text.parse::<Ipv6Addr>().is_ok(),
        "uri" => reqwest::Url::parse(text).is_ok(),
        _ => true,
    }
}

/// RFC 3339, with a space or a lower-case `t` and `z`, as both crates accept it.
fn is_timestamp(text: &str) -> bool {
    let zoned = |(date, rest): (&str, &str)| {
        let at = rest.find(['Z', 'z', '+', '-'])?;
        let (time, offset) = rest.split_at(at);
        Some(is_date(date) && is_time(time, Seconds::Required) && is_offset(offset))
    };
    split_moment(text).and_then(zoned).unwrap_or(false)
}

fn split_moment(text: &str) -> Option<(&str, &str)> {
    text.split_once(['T', 't', ' '])
}

fn is_date(text: &str) -> bool {
    let shape = digits_at(text, &[4, 2, 2], b'-');
    shape && text.parse::<civil::Date>().is_ok()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Seconds {
    Required,
    Optional,
}

/// Hours to seconds, with up to nine decimals.
fn is_time(text: &str, seconds: Seconds) -> bool {
    if seconds == Seconds::Optional && digits_at(text, &[2, 2], b':') {
        return text.parse::<civil::Time>().is_ok();
    }
    let (whole, fraction) = text.split_once('.').map_or((text, None), |(whole, rest)| (whole, Some(rest)));
    let fraction_fits = fraction.is_none_or(|digits| (1..=9).contains(&digits.len()) && all_digits(digits));
    digits_at(whole, &[2, 2, 2], b':') && fraction_fits && whole.parse::<civil::Time>().is_ok()
}

fn is_offset(text: &str) -> bool {
    if matches!(text, "Z" | "z") {
        return true;
    }
    let Some(rest) = text.strip_prefix(['+', '-']) else { return false };
    let within = |part: Option<&str>, most: u8| {
        part.and_then(|part| part.parse::<u8>().ok()).is_some_and(|part| part <= most)
    };
    let mut parts = rest.split(':');
    digits_at(rest, &[2, 2], b':') && within(parts.next(), 23) && within(parts.next(), 59)
}

fn all_digits(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Whether a text is groups of this many digits each, separated by this byte.
fn digits_at(text: &str, runs: &[usize], between: u8) -> bool {
    let parts = text.split(char::from(between));
    parts.clone().count() == runs.len()
        && parts.zip(runs).all(|(part, run)| part.len() == *run && all_digits(part))
}

#[cfg(test)]
mod tests {
    //! The gateway and the worker agree: each case goes through the validator as in the gateway, and through serde as
    //! on a worker.
    use std::{
        collections::{BTreeMap, HashMap},
        fmt::Debug,
        net::IpAddr,
        num::{NonZeroI16, NonZeroU8, NonZeroU64},
    };

    use chrono::{DateTime, FixedOffset, NaiveDate, NaiveDateTime, NaiveTime, Utc};
    use flash_protocol::schema::{self, Checker};
    use schemars::{JsonSchema, SchemaGenerator};
    use serde::{Deserialize, de::DeserializeOwned};
    use serde_json::Value;
    use uuid::Uuid;

    use super::fits;

    /// Reads each text as a `T` in both places, and says which both took.
    fn both<T: DeserializeOwned + JsonSchema>(texts: &[&str]) -> Vec<bool> {
        let mut generator = SchemaGenerator::default();
        let schema = generator.subschema_for::<T>().to_value();
        let Value::Object(mut root) = schema else { panic!("{schema}") };
        root.insert("$defs".to_owned(), Value::Object(generator.take_definitions(true)));
        let root = Value::Object(root);
        let checker = Checker::new(root.clone(), fits).unwrap();
        let verdict = |text: &&str| {
            let worker = serde_json::from_str::<T>(text);
            let gateway = serde_json::from_str::<Value>(text).map_or_else(
                |error| vec![error.to_string()],
                |value| checker.violations(&value).into_iter().map(|field| field.message).collect(),
            );
            let refusal = worker.as_ref().err();
            assert_eq!(
                gateway.is_empty(),
                refusal.is_none(),
                "{text} as {root}: gateway {gateway:?}, worker {refusal:?}"
            );
            worker.is_ok()
        };
        texts.iter().map(verdict).collect()
    }

    /// Both take the first list and refuse the second.
    fn agree<T: DeserializeOwned + JsonSchema>(taken: &[&str], refused: &[&str]) {
        assert!(both::<T>(taken).into_iter().all(|taken| taken), "{taken:?}");
        assert!(!both::<T>(refused).into_iter().any(|taken| taken), "{refused:?}");
    }

    #[test]
    fn integers_are_whole_and_within_their_type() {
        const OTHER: [&str; 7] = ["5.0", "5e0", "0.5", "\"5\"", "null", "true", "[5]"];
        agree::<u8>(&["0", "255"], &["-1", "256", "300", "1e2", "18446744073709551616"]);
        agree::<i8>(&["-128", "127"], &["-129", "128"]);
        agree::<u16>(&["65535"], &["65536"]);
        agree::<i16>(&["-32768"], &["32768"]);
        agree::<u32>(&["4294967295"], &["4294967296", "-1"]);
        agree::<i32>(&["-2147483648"], &["2147483648"]);
        agree::<u64>(&["18446744073709551615"], &["18446744073709551616", "-1", "1e19"]);
        agree::<i64>(
            &["-9223372036854775808", "9223372036854775807"],
            &["9223372036854775808", "-9223372036854775809", "-1e18"],
        );
        agree::<usize>(&["18446744073709551615"], &["18446744073709551616"]);
        agree::<isize>(&["-1"], &["9223372036854775808"]);
        agree::<u128>(
            &["0", "18446744073709551616", "340282366920938463463374607431768211455"],
            &["-1", "5.0", "-18446744073709551616"],
        );
        agree::<i128>(
            &["-170141183460469231731687303715884105728", "170141183460469231731687303715884105727"],
            &["5.0", "1e40"],
        );
        agree::<NonZeroU8>(&["1", "255"], &["0", "256"]);
        agree::<NonZeroU64>(&["1"], &["0", "-1"]);
        agree::<NonZeroI16>(&["-1", "1"], &["0", "40000"]);
        for verdicts in [both::<u8>(&OTHER), both::<i64>(&OTHER), both::<NonZeroU8>(&OTHER)] {
            assert_eq!(verdicts, [false; 7]);
        }
        agree::<Option<u8>>(&["null", "7"], &["256", "7.0"]);
        agree::<Vec<i8>>(&["[]", "[1, -1]"], &["[1, 128]", "[1.0]"]);
        agree::<HashMap<String, u8>>(&["{\"a\":1}"], &["{\"a\":256}"]);
        agree::<(u8, i8)>(&["[255, -1]"], &["[256, 0]", "[1]", "[1, 2, 3]"]);
        agree::<f32>(&["5", "5.0", "-1e30", "3.4028234663852886e38"], &["1e39", "-1e300", "\"5\"", "null"]);
        agree::<f64>(&["5", "1e300", "18446744073709551616"], &["1e400", "null"]);
    }

    #[test]
    fn texts_are_of_their_format() {
        agree::<char>(&["\"a\"", "\"ü\"", "\"😀\""], &["\"\"", "\"ab\"", "1"]);
        agree::<Uuid>(
            &["\"67e55044-10b1-426f-9247-bb680e5fe0c8\"", "\"67e5504410b1426f9247bb680e5fe0c8\""],
            &["\"\"", "\"67e55044\"", "\"67e55044-10b1-426f-9247-bb680e5fe0cg\"", "7"],
        );
        let moments = [
            "\"2024-02-29T23:59:59Z\"",
            "\"2024-02-29t23:59:59.123456789+05:30\"",
            "\"2024-01-01 00:00:00z\"",
        ];
        let no_moments = [
            "\"\"",
            "\"tomorrow\"",
            "\"2024-02-30T00:00:00Z\"",
            "\"2023-02-29T00:00:00Z\"",
            "\"2024-01-01T24:00:00Z\"",
            "\"2024-01-01T00:00:00\"",
            "\"2024-01-01T00:00Z\"",
            "\"2024-01-01\"",
            "\"2024-01-01T00:00:00+25:00\"",
            "1704067200",
        ];
        agree::<DateTime<Utc>>(&moments, &no_moments);
        agree::<DateTime<FixedOffset>>(&moments, &no_moments);
        agree::<NaiveDate>(
            &["\"2024-02-29\""],
            &["\"2023-02-29\"", "\"2024-13-01\"", "\"01.02.2024\"", "\"2024\""],
        );
        agree::<NaiveTime>(
            &["\"23:59:59\"", "\"00:00:00.5\"", "\"23:59\""],
            &["\"24:00:00\"", "\"noon\"", "\"12:60:00\""],
        );
        agree::<NaiveDateTime>(&["\"2024-01-01T00:00:00\""], &["\"2024-01-01\"", "\"2024-01-32T00:00:00\""]);
        agree::<IpAddr>(&["\"127.0.0.1\"", "\"::1\""], &["\"127.0.0\"", "\"localhost\"", "\"1.2.3.256\""]);
        agree::<std::net::Ipv4Addr>(&["\"127.0.0.1\""], &["\"::1\""]);
        agree::<std::net::Ipv6Addr>(&["\"::1\""], &["\"127.0.0.1\""]);
    }

    /// One of each shape that a type can have.
    #[derive(Debug, Deserialize, JsonSchema)]
    #[allow(dead_code, reason = "only read by serde")]
    struct Zoo {
        id: Uuid,
        born: DateTime<Utc>,
        tree: Option<Box<Tree>>,
        shape: Shape,
        event: Event,
        either: Either,
        #[serde(flatten)]
        size: Size,
        page: Page<u8>,
        #[serde(default)]
        names: BTreeMap<String, i16>,
        count: u128,
    }

    #[derive(Debug, Deserialize, JsonSchema)]
    #[allow(dead_code, reason = "only read by serde")]
    struct Tree {
        value: u8,
        children: Vec<Tree>,
    }

    #[derive(Debug, Deserialize, JsonSchema)]
    #[serde(rename_all = "snake_case")]
    #[allow(dead_code, reason = "only read by serde")]
    enum Shape {
        Dot,
        Circle(f32),
        Box { width: u8, height: u8 },
    }

    #[derive(Debug, Deserialize, JsonSchema)]
    #[serde(tag = "kind", rename_all = "snake_case")]
    #[allow(dead_code, reason = "only read by serde")]
    enum Event {
        Key { code: u16 },
        Click { at: (i32, i32) },
    }

    #[derive(Debug, Deserialize, JsonSchema)]
    #[serde(untagged)]
    #[allow(dead_code, reason = "only read by serde")]
    enum Either {
        Number(i8),
        Text(String),
    }

    #[derive(Debug, Deserialize, JsonSchema)]
    #[allow(dead_code, reason = "only read by serde")]
    struct Size {
        width: u32,
        height: u32,
    }

    #[derive(Debug, Deserialize, JsonSchema)]
    #[allow(dead_code, reason = "only read by serde")]
    struct Page<T> {
        items: Vec<T>,
        next: Option<T>,
    }

    #[test]
    fn shapes_of_every_kind_are_judged_alike_however_deep() {
        let whole = serde_json::json!({
            "id": "67e55044-10b1-426f-9247-bb680e5fe0c8",
            "born": "2024-02-29T23:59:59Z",
            "tree": { "value": 1, "children": [{ "value": 2, "children": [] }] },
            "shape": { "box": { "width": 1, "height": 2 } },
            "event": { "kind": "click", "at": [1, -1] },
            "either": "text",
            "width": 7, "height": 8,
            "page": { "items": [1, 2], "next": null },
            "names": { "a": -1 },
            "count": 7,
        });
        agree::<Zoo>(&[&whole.to_string()], &["{}", "[]", "null"]);
        let with = |pointer: &str, value: &str| {
            let mut changed = whole.clone();
            *changed.pointer_mut(pointer).unwrap() = serde_json::from_str(value).unwrap();
            changed.to_string()
        };
        for (pointer, taken, refused) in [
            ("/id", "\"67e5504410b1426f9247bb680e5fe0c8\"", "\"x\""),
            ("/born", "\"2024-01-01T00:00:00+01:00\"", "\"2024-01-01\""),
            ("/tree", "null", "{\"value\":1}"),
            ("/tree/children/0/value", "255", "256"),
            ("/shape", "\"dot\"", "\"line\""),
            ("/shape", "{\"circle\":1.5}", "{\"circle\":\"big\"}"),
            ("/shape/box/width", "255", "5.0"),
            ("/event", "{\"kind\":\"key\",\"code\":65535}", "{\"kind\":\"key\",\"code\":65536}"),
            ("/event/at/0", "-2147483648", "2147483648"),
            ("/event/kind", "\"click\"", "\"drag\""),
            ("/either", "-128", "128"),
            ("/either", "\"\"", "5.0"),
            ("/width", "4294967295", "4294967296"),
            ("/page/items/0", "0", "-1"),
            ("/page/next", "255", "256"),
            ("/names/a", "-32768", "32768"),
            ("/count", "18446744073709551615", "5.0"),
        ] {
            agree::<Zoo>(&[&with(pointer, taken)], &[&with(pointer, refused)]);
        }
    }

    #[test]
    fn a_refusal_says_what_was_expected() {
        fn refusals<T: JsonSchema + Debug>(value: &Value) -> Vec<String> {
            let schema = SchemaGenerator::default().into_root_schema_for::<T>().to_value();
            schema::violations(&schema, value, fits).into_iter().map(|field| field.message).collect()
        }
        let json = |text: &str| serde_json::from_str::<Value>(text).unwrap();
        assert_eq!(refusals::<i8>(&json("5.0")), ["expected integer, got number"]);
        assert_eq!(refusals::<u64>(&json("18446744073709551616")).len(), 1);
        assert_eq!(refusals::<u32>(&json("4294967296")), ["expected an integer from 0 to 4294967295"]);
        assert_eq!(refusals::<Uuid>(&json("\"x\"")), ["expected format `uuid`"]);
    }
}
