//! The IDs by which a request is followed: its own, and the trace that it belongs to.
use flash_protocol::wire::identity;
use http::HeaderMap;

/// The header with the request ID.
pub(super) const REQUEST_ID: &str = "x-request-id";

/// The id that a request and everything it causes share.
#[derive(Clone)]
pub(super) enum RequestId {
    /// By the client, in the header.
    Given(identity::RequestId),
    /// Here, because the header was missing or cannot be an id.
    Made(identity::RequestId),
}

impl RequestId {
    /// From the client if it is valid, otherwise a new one.
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let given = headers.get(REQUEST_ID).and_then(|id| identity::RequestId::parse(id.to_str().ok()?));
        given.map(Self::Given).unwrap_or_else(|| {
            let made = identity::RequestId::parse(&uuid::Uuid::new_v4().to_string());
            Self::Made(made.expect("a UUID is a request id"))
        })
    }

    pub(super) fn as_str(&self) -> &str {
        let (Self::Given(id) | Self::Made(id)) = self;
        id
    }

    /// The request ID of a job whose body contains one too: the header takes precedence.
    pub(super) fn or_of_body(self, body: Option<identity::RequestId>) -> identity::RequestId {
        match self {
            Self::Given(id) => id,
            Self::Made(id) => body.unwrap_or(id),
        }
    }
}

/// The trace from the client's header.
pub(super) fn trace_parent(headers: &HeaderMap) -> Option<identity::TraceParent> {
    identity::TraceParent::parse(headers.get("traceparent")?.to_str().ok()?)
}
