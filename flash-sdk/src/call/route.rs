//! Calls of routes of other worker types: plain requests, and server-sent events for those that stream.
use flash_protocol::{
    Error, ErrorKind, Result, WireError,
    wire::{
        Payload, RawJson,
        envelope::Envelope,
        events::{self, Event, Events, NamedChunk},
        refusal,
    },
};
use futures_util::stream::{self, BoxStream, StreamExt as _, TryStreamExt as _};
use http::StatusCode;
use serde_json::value::RawValue;

use super::coding::EncodedCall;
use crate::{
    bytes::Bytes,
    descriptor::{Answered, Function, Head, Value},
    http_client::{HttpClient, escaped, received, transport},
    located::located,
    request::sendable,
};

/// The content type of raw bytes without one.
const OCTET_STREAM: &str = "application/octet-stream";

/// The answer of a route of another worker type.
pub(super) async fn call(
    http: &HttpClient,
    url: &str,
    function: &Function,
    envelope: &Envelope,
    call: EncodedCall,
) -> Result<Answered> {
    let received = received(request(http, url, function, envelope, call)?).await?;
    // A whole response may also be a redirect, which is not followed.
    if !(function.output.is_response && (300..400).contains(&received.status)) {
        received.success()?;
    }
    let value = if function.answers_raw() {
        let content_type = received.headers.get("content-type").and_then(|kind| kind.to_str().ok());
        Value::Raw(match content_type {
            Some(content_type) => Bytes::with_content_type(content_type, received.body),
            None => received.body.into(),
        })
    } else if received.body.is_empty() {
        Value::Json(Payload::null())
    } else {
        Value::Json(received.json::<RawJson>()?.into())
    };
    let status = StatusCode::from_u16(received.status)?;
    Ok(Answered { value, head: Some(Head { status, headers: received.headers }) })
}

/// The chunks of a route that streams, as they come. Dropping them ends the request.
pub(super) async fn stream(
    http: &HttpClient,
    url: &str,
    function: &'static Function,
    envelope: &Envelope,
    call: EncodedCall,
) -> Result<BoxStream<'static, Result<RawJson>>> {
    let request = request(http, url, function, envelope, call)?;
    let response = request.header("accept", events::CONTENT_TYPE).send().await.map_err(transport)?;
    let status = response.status();
    if !status.is_success() {
        let body = response.bytes().await.map_err(transport)?;
        return Err(refusal(status.as_u16(), &body).into());
    }
    let kind = response.headers().get("content-type").and_then(|kind| kind.to_str().ok());
    if !kind.is_some_and(|kind| kind.starts_with(events::CONTENT_TYPE)) {
        let message = format!(
            "`{}` answered {}, expected {}",
            function.stage(),
            kind.unwrap_or("no content type"),
            events::CONTENT_TYPE,
        );
        return Err(Error::new(ErrorKind::Decode, message));
    }
    let request_id = envelope.request_id.clone();
    let is_named = function.binding().streams_events;
    let chunk_of = move |event| chunk_of(event, is_named);
    let chunks =
        stream::try_unfold((response, Events::default()), move |(mut response, mut events)| async move {
            let Some(bytes) = response.chunk().await.map_err(transport)? else { return Ok::<_, Error>(None) };
            let found =
                events.push(&bytes).map_err(|error| Error::new(ErrorKind::Decode, error.to_string()))?;
            Ok(Some((stream::iter(found.into_iter().map(chunk_of)), (response, events))))
        });
    let chunks = chunks.try_flatten();
    Ok(chunks.map_err(move |error| located(error, function.stage(), request_id.clone())).boxed())
}

/// A plain request to a route.
fn request(
    http: &HttpClient,
    url: &str,
    function: &Function,
    envelope: &Envelope,
    call: EncodedCall,
) -> Result<reqwest::RequestBuilder> {
    let Some(route) = function.route else {
        return Err(Error::new(ErrorKind::NotFound, format!("`{}` is not a route", function.call_name())));
    };
    let method = reqwest::Method::from_bytes(route.method.as_bytes())?;
    let (mut path, mut query) = (route.path.to_owned(), Vec::new());
    for (name, value) in call.text {
        let slot = format!("{{{name}}}");
        if path.contains(&slot) {
            path = path.replace(&slot, &escaped(&value))
        } else {
            query.push((name, value))
        }
    }
    if let Some(more) = call.query {
        path.push('?');
        path.push_str(&more);
    }
    let mut request = http.request(method, format!("{}{path}", url.trim_end_matches('/'))).query(&query);
    if !matches!(route.method, "GET" | "DELETE" | "HEAD") {
        request = match call.body {
            Value::Json(body) => {
                request.header("content-type", "application/json").body(body.into_json().get().to_owned())
            }
            Value::Raw(bytes) => {
                let content_type = bytes.content_type().unwrap_or(OCTET_STREAM);
                request.header("content-type", content_type).body(bytes.data().clone())
            }
        };
    }
    for (name, value) in sendable(&call.headers) {
        request = request.header(name, value);
    }
    for (name, value) in envelope.trace_headers() {
        request = request.header(name, value);
    }
    Ok(request)
}

/// Decodes an event of a route: a chunk, or the failure that ends the stream.
fn chunk_of(event: Event, is_named: bool) -> Result<RawJson> {
    let not_understood = |error: serde_json::Error| {
        Error::new(ErrorKind::Decode, format!("could not parse an event of the route: {error}"))
    };
    match event.name.as_str() {
        events::ERROR => Err(serde_json::from_str::<WireError>(&event.data).map_err(not_understood)?.into()),
        name if is_named => {
            let present = |text: &str| (!text.is_empty()).then(|| text.to_owned());
            let data: RawJson = RawValue::from_string(event.data).map_err(not_understood)?;
            let chunk = NamedChunk { data, event: present(name), id: present(&event.id), retry_ms: None };
            serde_json::value::to_raw_value(&chunk).map_err(not_understood)
        }
        _ => RawValue::from_string(event.data).map_err(not_understood),
    }
}
