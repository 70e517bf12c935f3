//! Turns a route's input into an HTTP request.
use flash_protocol::{
    manifest::{ArgumentSource, FunctionEntry},
    wire::base64,
};
use reqwest::{Method, Url};
use serde_json::Value;

use super::input::{Input, body_of};
use crate::exit::Failure;

/// A request that is not sent yet.
#[derive(Debug, PartialEq)]
pub(super) struct RouteRequest {
    pub method: Method,
    pub url: Url,
    pub body: Option<Body>,
}

/// The body of a request.
#[derive(Debug, PartialEq)]
pub(super) enum Body {
    Json(String),
    Raw(Vec<u8>),
}

/// Puts each argument where the route expects it.
///
/// # Errors
/// When no URL can be made.
pub(super) fn request(function: &FunctionEntry, base: &str, input: &Input) -> Result<RouteRequest, Failure> {
    let Some(route) = &function.route else {
        return Err(Failure::unusable(format!("`{}` is not a route", function.call_name())));
    };
    let outside: Vec<_> =
        function.arguments.iter().filter(|argument| argument.source != ArgumentSource::Body).collect();
    let unusable = |base: &str| {
        Failure::failed(format!("`{base}` is not a valid address for `{}`", function.call_name()))
    };
    let mut url = Url::parse(base).map_err(|_| unusable(base))?;
    {
        let mut segments = url.path_segments_mut().map_err(|()| unusable(base))?;
        segments.pop_if_empty();
        for segment in route.path.trim_start_matches('/').split('/') {
            let name = segment.strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
            // A missing argument was already rejected by the input check.
            let value = name.and_then(|name| input.value.get(name)).map(text);
            segments.push(value.as_deref().unwrap_or(segment));
        }
    }
    for argument in outside.iter().filter(|argument| argument.source == ArgumentSource::Query) {
        match input.value.get(&argument.name) {
            None | Some(Value::Null) => {}
            Some(value) => {
                url.query_pairs_mut().append_pair(&argument.name, &text(value));
            }
        }
    }
    let method = Method::from_bytes(route.method.as_bytes()).unwrap_or(Method::POST);
    let names: Vec<&str> = outside.iter().map(|argument| argument.name.as_str()).collect();
    let body = match (&function.input, outside.as_slice()) {
        (None, _) => None,
        (Some(_), _) if function.raw_body => Some(Body::Raw(raw_body(function, input))),
        (Some(_), []) => Some(Body::Json(input.raw().get().to_owned())),
        (Some(_), _) => Some(Body::Json(body_of(&input.value, &names).unwrap_or_default().to_string())),
    };
    Ok(RouteRequest { method, url, body })
}

/// The bytes of the argument that is the body; the input check has seen that it is base64.
fn raw_body(function: &FunctionEntry, input: &Input) -> Vec<u8> {
    let argument = function.arguments.iter().find(|argument| argument.source == ArgumentSource::Body);
    let text = argument.and_then(|argument| input.value.get(&argument.name)).and_then(Value::as_str);
    text.and_then(base64::decode).unwrap_or_default()
}

/// The text for a path or query.
fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use flash_protocol::manifest::ArgumentEntry;
    use serde_json::json;

    use super::{
        super::{
            find::tests::{function, manifest},
            input::Given,
        },
        *,
    };

    #[test]
    fn arguments_go_where_the_route_finds_them() {
        let mut write = function("write", None, "web", Some(("PUT", "/items/{id}/text")));
        let of = |name: &str, source| ArgumentEntry {
            name: name.to_owned(),
            source,
            required: true,
            schema: json!({}),
        };
        write.arguments = vec![
            of("id", ArgumentSource::Path),
            of("dry", ArgumentSource::Query),
            of("note", ArgumentSource::Query),
            of("text", ArgumentSource::Body),
        ];
        write.input = Some(json!({}));
        let app = manifest(Vec::new());
        let given = Given::read(Some(r#"{"id": "a/b", "dry": true, "note": null, "text": "x"}"#)).unwrap();
        let input = given.for_function(&app, None).unwrap();
        let request = request(&write, "http://127.0.0.1:1/web", &input).unwrap();
        assert_eq!(request.method, Method::PUT);
        assert_eq!(request.url.as_str(), "http://127.0.0.1:1/web/items/a%2Fb/text?dry=true");
        assert_eq!(request.body, Some(Body::Json(r#"{"text":"x"}"#.to_owned())));
    }

    #[test]
    fn a_body_alone_is_sent_as_it_was_given() {
        let mut classify = function("classify", None, "web", Some(("POST", "/classify")));
        classify.input = Some(json!({}));
        let given = Given::read(Some(r#"{ "text": "x" }"#)).unwrap();
        let input = given.for_function(&manifest(Vec::new()), None).unwrap();
        let request = request(&classify, "http://127.0.0.1:1/web/", &input).unwrap();
        assert_eq!(request.url.as_str(), "http://127.0.0.1:1/web/classify");
        assert_eq!(request.body, Some(Body::Json(r#"{ "text": "x" }"#.to_owned())));
    }

    #[test]
    fn bytes_are_the_raw_body() {
        let mut put = function("put", None, "web", Some(("PUT", "/files/{name}")));
        let of = |name: &str, source| ArgumentEntry {
            name: name.to_owned(),
            source,
            required: true,
            schema: json!({}),
        };
        put.arguments = vec![of("name", ArgumentSource::Path), of("file", ArgumentSource::Body)];
        (put.raw_body, put.input) = (true, Some(json!({})));
        let given = Given::read(Some(r#"{"name": "a", "file": "/w=="}"#)).unwrap();
        let input = given.for_function(&manifest(Vec::new()), None).unwrap();
        let request = request(&put, "http://127.0.0.1:1", &input).unwrap();
        assert_eq!((request.url.path(), request.body), ("/files/a", Some(Body::Raw(vec![0xff]))));
    }
}
