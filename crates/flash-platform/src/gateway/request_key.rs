//! Finds the key in a request, and removes it before the request goes to a worker.
//!
//! Workers run app code, and more people may read an app's logs than have a key. So the platform's key is removed,
//! wherever it is in the head of the request. An `Authorization` that is not a key of this platform belongs to the
//! app and is passed on.
use axum::extract::Request;
use http::{
    HeaderMap, HeaderName, HeaderValue, Uri,
    header::{AUTHORIZATION, COOKIE},
};

/// A key of at least this length is also found within longer text. A shorter one must be the whole value; otherwise a
/// key such as `a` would remove half of the request.
const SEARCHED_FROM: usize = 12;

/// The key in an `Authorization`: after `Bearer`, or alone, as some clients send it.
pub(super) fn key_in(value: &HeaderValue) -> Option<&str> {
    let text = value.to_str().ok()?.trim();
    match text.split_once(' ') {
        Some((scheme, key)) if scheme.eq_ignore_ascii_case("bearer") => Some(key.trim()),
        _ => Some(text),
    }
}

/// The key that a request presents: the first `Authorization` counts.
pub(super) fn key_of(headers: &HeaderMap) -> Option<&str> {
    headers.get(AUTHORIZATION).and_then(key_in)
}

/// Removes keys from a request: every `Authorization` that `is_key` knows, and the accepted key (`opened`) also from
/// other headers, cookies and the query.
pub(super) fn take_out(request: &mut Request, opened: Option<&str>, is_key: impl Fn(&str) -> bool) {
    let headers = request.headers_mut();
    keep(headers, &AUTHORIZATION, |value| {
        let no_key = key_in(value).is_none_or(|key| !is_key(key));
        no_key.then(|| value.clone())
    });
    let Some(key) = opened.filter(|key| !key.is_empty()) else { return };
    let with_key: Vec<HeaderName> = headers
        .iter()
        .filter(|(name, value)| **name != AUTHORIZATION && (**name == COOKIE || holds(value.as_bytes(), key)))
        .map(|(name, _)| name.clone())
        .collect();
    for name in with_key {
        if name == COOKIE {
            keep(headers, &COOKIE, |value| other_cookies(value, key));
        } else {
            keep(headers, &name, |value| (!holds(value.as_bytes(), key)).then(|| value.clone()));
        }
    }
    if let Some(uri) = without_in_query(request.uri(), key) {
        *request.uri_mut() = uri;
    }
}

/// Replaces each value of a header with the result of `kept`, or removes it.
fn keep(headers: &mut HeaderMap, name: &HeaderName, kept: impl Fn(&HeaderValue) -> Option<HeaderValue>) {
    let values: Vec<HeaderValue> = headers.get_all(name).iter().filter_map(kept).collect();
    headers.remove(name);
    for value in values {
        headers.append(name, value);
    }
}

fn holds(text: &[u8], key: &str) -> bool {
    let key = key.as_bytes();
    text == key || (key.len() >= SEARCHED_FROM && text.windows(key.len()).any(|part| part == key))
}

/// Whether a pair `NAME=VALUE` holds the key.
fn pair_holds(pair: &str, key: &str) -> bool {
    let value = pair.split_once('=').map_or(pair, |(_, value)| value);
    holds(pair.as_bytes(), key) || holds(value.trim_matches('"').as_bytes(), key)
}

/// `None` when nothing is left.
fn other_cookies(value: &HeaderValue, key: &str) -> Option<HeaderValue> {
    let Ok(text) = value.to_str() else { return (!holds(value.as_bytes(), key)).then(|| value.clone()) };
    let cookies: Vec<&str> =
        text.split(';').map(str::trim).filter(|cookie| !pair_holds(cookie, key)).collect();
    let left = cookies.join("; ");
    HeaderValue::from_str(&left).ok().filter(|left| !left.is_empty())
}

/// The same URI without parameters that contain the key; `None` if there are none.
fn without_in_query(uri: &Uri, key: &str) -> Option<Uri> {
    let query = uri.query()?;
    let parameters: Vec<&str> = query.split('&').collect();
    let kept: Vec<&str> =
        parameters.iter().copied().filter(|parameter| !pair_holds(&decoded(parameter), key)).collect();
    if kept.len() == parameters.len() {
        return None;
    }
    let question = if kept.is_empty() { "" } else { "?" };
    let mut parts = uri.clone().into_parts();
    let path_and_query = format!("{}{question}{}", uri.path(), kept.join("&"));
    parts.path_and_query =
        Some(path_and_query.parse().expect("a path and part of its query, taken from a URI"));
    Some(Uri::from_parts(parts).expect("only the query has become shorter"))
}

/// A parameter without its percent-encoding.
fn decoded(parameter: &str) -> String {
    let hex = |digits: &[u8]| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok();
    let mut bytes = Vec::with_capacity(parameter.len());
    let mut rest = parameter.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        match (first, tail.get(..2).and_then(hex)) {
            (b'%', Some(byte)) => {
                bytes.push(byte);
                rest = &tail[2..];
            }
            _ => bytes.push(*first),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "flash-key-0123456789";

    /// The headers that a worker gets of a request with these headers and the accepted `key`.
    fn seen(uri: &str, headers: &[(&str, &str)], key: &str) -> (String, Vec<(String, String)>) {
        let mut request = http::Request::builder().uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut request = request.body(axum::body::Body::empty()).unwrap();
        take_out(&mut request, Some(key), |given| given == key || given == "worker-key");
        let text = |value: &HeaderValue| value.to_str().unwrap().to_owned();
        let headers = request.headers().iter().map(|(name, value)| (name.to_string(), text(value))).collect();
        (request.uri().to_string(), headers)
    }

    #[test]
    fn the_key_that_opened_is_taken_out_wherever_it_stands_in_the_head() {
        let bearer = format!("Bearer {KEY}");
        let protocols = format!("bearer, {KEY}");
        let cookies = format!("theme=dark; key={KEY}; lang=en");
        let cases: &[&[(&str, &str)]] = &[
            &[("authorization", &bearer)],
            &[("authorization", KEY)],
            &[("authorization", &bearer), ("authorization", KEY)],
            &[("authorization", "bearer worker-key")],
            &[("x-api-key", KEY)],
            &[("sec-websocket-protocol", &protocols)],
        ];
        for headers in cases {
            assert_eq!(seen("/a", headers, KEY), ("/a".to_owned(), Vec::new()), "{headers:?}");
        }
        let (_, headers) = seen("/a", &[("cookie", &cookies)], KEY);
        assert_eq!(headers, [("cookie".to_owned(), "theme=dark; lang=en".to_owned())]);
        let encoded = KEY.replace('-', "%2D");
        for (uri, left) in [
            (format!("/a?api_key={KEY}"), "/a"),
            (format!("/a?x=1&api_key={encoded}&y=%2F"), "/a?x=1&y=%2F"),
            ("/a?x=1&y=%zz".to_owned(), "/a?x=1&y=%zz"),
        ] {
            assert_eq!(seen(&uri, &[], KEY).0, left, "{uri}");
        }
    }

    #[test]
    fn an_authorization_of_the_app_passes_beside_the_key() {
        let bearer = format!("Bearer {KEY}");
        let (_, headers) = seen("/a", &[("authorization", &bearer), ("authorization", "Basic dTpw")], KEY);
        assert_eq!(headers, [("authorization".to_owned(), "Basic dTpw".to_owned())]);
    }

    #[test]
    fn a_short_key_takes_nothing_with_it_that_only_contains_it() {
        let (uri, headers) =
            seen("/a?a=a&b=data", &[("accept", "a"), ("x-data", "data"), ("cookie", "c=a; d=data")], "a");
        assert_eq!(uri, "/a?b=data");
        assert_eq!(
            headers,
            [("x-data".to_owned(), "data".to_owned()), ("cookie".to_owned(), "d=data".to_owned())]
        );
    }
}
