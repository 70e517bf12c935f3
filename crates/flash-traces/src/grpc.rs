//! OTLP over gRPC, with the HTTP client that sends the other protocol: one call with one message each way.
//!
//! The message is the same for both protocols, so a request of one becomes a request of the other, and the answer of one
//! an answer of the other. What a status means to the exporter is said as the status of HTTP that means the same. Source:
//! <https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md>, and for what may be sent again
//! <https://opentelemetry.io/docs/specs/otlp/#otlpgrpc-response>.
use bytes::{BufMut as _, Bytes, BytesMut};
use http::{
    HeaderMap, HeaderValue, Method, Request, StatusCode, Uri, Version,
    header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, TE},
    uri::PathAndQuery,
};

/// The method of a collector that takes traces.
const PATH: PathAndQuery =
    PathAndQuery::from_static("/opentelemetry.proto.collector.trace.v1.TraceService/Export");
/// A message begins with whether it is compressed and its length.
const HEAD: usize = 5;

const STATUS: &str = "grpc-status";
const MESSAGE: &str = "grpc-message";
const ENCODING: &str = "grpc-encoding";

/// The names of the statuses, from 0.
const NAMES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];
/// Those after which the same spans may be sent again: all that the specification lists, but for RESOURCE_EXHAUSTED, which
/// counts only with a time to wait for.
const PASSING: [&str; 6] =
    ["CANCELLED", "DEADLINE_EXCEEDED", "ABORTED", "OUT_OF_RANGE", "UNAVAILABLE", "DATA_LOSS"];

/// What a collector said instead of taking the spans.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// The status of HTTP with the same meaning.
    pub status: StatusCode,
    /// For the log.
    pub text: String,
}

/// The call that a request over HTTP becomes.
///
/// # Errors
/// If its message is longer than gRPC can say.
pub(crate) fn call(request: Request<Bytes>) -> Result<Request<Bytes>, String> {
    let (mut parts, message) = request.into_parts();
    let length = u32::try_from(message.len()).map_err(|_| "the message is over 4 GiB".to_owned())?;
    let mut uri = parts.uri.into_parts();
    uri.path_and_query = Some(PATH);
    parts.uri = Uri::from_parts(uri).map_err(|error| error.to_string())?;
    parts.method = Method::POST;
    parts.version = Version::HTTP_2;
    let encoding = parts.headers.remove(CONTENT_ENCODING);
    parts.headers.remove(CONTENT_LENGTH);
    parts.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    parts.headers.insert(TE, HeaderValue::from_static("trailers"));
    let mut body = BytesMut::with_capacity(HEAD + message.len());
    body.put_u8(encoding.is_some().into());
    body.put_u32(length);
    body.put(message);
    if let Some(encoding) = encoding {
        parts.headers.insert(ENCODING, encoding);
    }
    Ok(Request::from_parts(parts, body.freeze()))
}

/// The message of an answer, without its head; an empty one, which says that all spans were taken, if it cannot be read.
///
/// # Errors
/// If the collector did not take the spans.
pub(crate) fn message(
    status: StatusCode,
    headers: &HeaderMap,
    trailers: Option<&HeaderMap>,
    body: &Bytes,
) -> Result<Bytes, Refusal> {
    // An answer without a message has them among its headers.
    let find = |name: &str| trailers.and_then(|own| own.get(name)).or_else(|| headers.get(name));
    let Some(code) = find(STATUS) else {
        let text = match status.is_success() {
            true => "its answer is not one of gRPC".to_owned(),
            false => format!("it answered {status}, which is not gRPC"),
        };
        let status = if status.is_success() { StatusCode::BAD_GATEWAY } else { status };
        return Err(Refusal { status, text });
    };
    let name = code.to_str().ok().and_then(|code| NAMES.get(code.parse::<usize>().ok()?)).copied();
    let name = name.unwrap_or("UNKNOWN");
    if name == "OK" {
        let is_plain = body.first() == Some(&0);
        return Ok(if is_plain { body.slice(HEAD.min(body.len())..) } else { Bytes::new() });
    }
    let detail = find(MESSAGE).and_then(|own| own.to_str().ok()).unwrap_or_default();
    let detail = percent_encoding::percent_decode_str(detail).decode_utf8_lossy();
    let text = match detail.is_empty() {
        true => format!("it answered {name}"),
        false => format!("it answered {name}: {detail}"),
    };
    let status = match name {
        "UNAUTHENTICATED" => StatusCode::UNAUTHORIZED,
        "PERMISSION_DENIED" => StatusCode::FORBIDDEN,
        "UNIMPLEMENTED" => StatusCode::NOT_FOUND,
        name if PASSING.contains(&name) => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::BAD_REQUEST,
    };
    Err(Refusal { status, text })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(encoding: Option<&str>) -> Request<Bytes> {
        let mut request = Request::post("http://collector:4317/v1/traces?key=1")
            .header("x-key", "secret")
            .header(CONTENT_TYPE, "application/x-protobuf")
            .header(CONTENT_LENGTH, "3");
        if let Some(encoding) = encoding {
            request = request.header(CONTENT_ENCODING, encoding);
        }
        request.body(Bytes::from_static(b"abc")).unwrap()
    }

    #[test]
    fn a_request_becomes_a_call_with_the_same_message_and_headers() {
        let call = call(request(None)).unwrap();
        let path = "http://collector:4317/opentelemetry.proto.collector.trace.v1.TraceService/Export";
        assert_eq!((call.uri().to_string().as_str(), call.version()), (path, Version::HTTP_2));
        assert_eq!(call.body().as_ref(), b"\0\0\0\0\x03abc");
        assert_eq!(call.headers()["x-key"], "secret");
        assert_eq!(call.headers()[CONTENT_TYPE], "application/grpc");
        assert!(!call.headers().contains_key(CONTENT_LENGTH) && !call.headers().contains_key(ENCODING));
        let call = super::call(request(Some("gzip"))).unwrap();
        assert_eq!(call.body()[0], 1);
        assert_eq!(call.headers()[ENCODING], "gzip");
        assert!(!call.headers().contains_key(CONTENT_ENCODING));
    }

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_static(value)))
            .collect::<HeaderMap>()
    }

    #[test]
    fn an_answer_is_judged_by_the_status_of_grpc_wherever_it_is() {
        let ok = headers(&[(STATUS, "0")]);
        let body = Bytes::from_static(b"\0\0\0\0\x02ab");
        let answer = |headers: &HeaderMap, trailers: Option<&HeaderMap>| {
            message(StatusCode::OK, headers, trailers, &body).map_err(|own| (own.status.as_u16(), own.text))
        };
        assert_eq!(answer(&HeaderMap::new(), Some(&ok)).unwrap().as_ref(), b"ab");
        assert_eq!(message(StatusCode::OK, &ok, None, &Bytes::new()).unwrap(), Bytes::new());
        let refused = |code, why| answer(&headers(&[(STATUS, code), (MESSAGE, why)]), None).unwrap_err();
        assert_eq!(refused("14", "try%20later"), (503, "it answered UNAVAILABLE: try later".to_owned()));
        assert_eq!(refused("16", ""), (401, "it answered UNAUTHENTICATED".to_owned()));
        assert_eq!(refused("8", ""), (400, "it answered RESOURCE_EXHAUSTED".to_owned()));
        assert_eq!(refused("99", ""), (400, "it answered UNKNOWN".to_owned()));
        let (status, text) = answer(&HeaderMap::new(), None).unwrap_err();
        assert_eq!((status, text.as_str()), (502, "its answer is not one of gRPC"));
        let plain = message(StatusCode::NOT_FOUND, &HeaderMap::new(), None, &Bytes::new()).unwrap_err();
        assert_eq!((plain.status, plain.text.contains("404")), (StatusCode::NOT_FOUND, true));
    }
}
