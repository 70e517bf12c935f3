//! Strings and numbers within the bounds that a schema sets.
use serde_json::{Map, Number, Value, json};

use super::pattern;

/// Characters of a string at most; a schema that asks for more has no sample.
const MOST_CHARACTERS: u64 = 4096;

pub(super) fn string(members: &Map<String, Value>) -> Option<Value> {
    if let Some(text) = members.get("format").and_then(Value::as_str).and_then(of_format) {
        return Some(json!(text));
    }
    if let Some(Value::String(pattern)) = members.get("pattern") {
        return pattern::matching(pattern).map(Value::String);
    }
    if members.get("contentEncoding").is_some_and(|encoding| encoding == "base64") {
        // `hello`
        return Some(json!("aGVsbG8="));
    }
    let bound = |key: &str| members.get(key).and_then(Value::as_u64);
    let (least, most) = (bound("minLength").unwrap_or(0), bound("maxLength").unwrap_or(u64::MAX));
    if least > MOST_CHARACTERS || least > most {
        return None;
    }
    // Of a character too: `text` cut to one.
    let length = usize::try_from(least.max(4).min(most)).ok()?;
    Some(json!("text".chars().cycle().take(length).collect::<String>()))
}

fn of_format(format: &str) -> Option<&'static str> {
    Some(match format {
        "uuid" => "123e4567-e89b-42d3-a456-426614174000",
        "date-time" => "2026-01-31T12:00:00Z",
        "date" => "2026-01-31",
        "time" => "12:00:00Z",
        "partial-date-time" => "2026-01-31T12:00:00",
        "partial-time" => "12:00:00",
        "duration" => "PT1H",
        "email" | "idn-email" => "ada@example.com",
        "hostname" | "idn-hostname" => "example.com",
        "uri" | "iri" | "url" | "uri-reference" | "iri-reference" => "https://example.com/",
        "uri-template" => "https://example.com/{name}",
        "ipv4" | "ip" => "192.0.2.1",
        "ipv6" => "2001:db8::1",
        "json-pointer" => "/name",
        "relative-json-pointer" => "0/name",
        "regex" => "[a-z]+",
        "semver" => "1.0.0",
        _ => return None,
    })
}

pub(super) fn integer(members: &Map<String, Value>) -> Option<Value> {
    let bound = |key: &str, round: fn(f64) -> f64| members.get(key).and_then(|value| whole(value, round));
    let above = bound("exclusiveMinimum", f64::floor).map(|bound| bound.saturating_add(1));
    let below = bound("exclusiveMaximum", f64::ceil).map(|bound| bound.saturating_sub(1));
    let least = bound("minimum", f64::ceil).into_iter().chain(above).max();
    let most = bound("maximum", f64::floor).into_iter().chain(below).min();
    let step = bound("multipleOf", f64::ceil).filter(|step| *step > 0).unwrap_or(1);
    // 1 where it is allowed, else the nearest that is.
    let wanted = 1.max(least.unwrap_or(1)).min(most.unwrap_or(i128::MAX));
    let below = wanted.div_euclid(step).saturating_mul(step);
    let above = if below == wanted { below } else { below.saturating_add(step) };
    let number = if most.is_some_and(|most| above > most) { below } else { above };
    let fits = least.is_none_or(|least| number >= least) && most.is_none_or(|most| number <= most);
    let number = match (i64::try_from(number), u64::try_from(number)) {
        (Ok(number), _) => Number::from(number),
        (_, Ok(number)) => Number::from(number),
        _ => return None,
    };
    fits.then_some(Value::Number(number))
}

/// A bound of an integer, which may be a fraction or beyond 64 bits.
fn whole(value: &Value, round: fn(f64) -> f64) -> Option<i128> {
    let integer = value.as_i64().map(i128::from).or_else(|| value.as_u64().map(i128::from));
    // Far from zero this is as near as a float gets, and no sample is there.
    integer.or_else(|| value.as_f64().map(|number| round(number) as i128))
}

pub(super) fn number(members: &Map<String, Value>) -> Option<Value> {
    let bound = |key: &str| members.get(key).and_then(Value::as_f64);
    let exclusive = (bound("exclusiveMinimum"), bound("exclusiveMaximum"));
    let least = bound("minimum").into_iter().chain(exclusive.0).fold(f64::NEG_INFINITY, f64::max);
    let most = bound("maximum").into_iter().chain(exclusive.1).fold(f64::INFINITY, f64::min);
    if let Some(step) = bound("multipleOf").filter(|step| *step > 0.0) {
        let wanted = 1f64.clamp(least, most.max(least));
        return Some(json!((wanted / step).ceil() * step));
    }
    let is_between = |number: f64| number > least && number < most;
    let touches = |number: f64| number >= least && number <= most && exclusive == (None, None);
    let middle = match (least.is_finite(), most.is_finite()) {
        (true, true) => least + (most - least) / 2.0,
        (true, false) => least + 1.0,
        (false, true) => most - 1.0,
        (false, false) => 1.0,
    };
    let number = [1.0, middle, least, most];
    number.into_iter().find(|number| is_between(*number) || touches(*number)).map(|number| json!(number))
}
