//! The answer of a worker, as it came: over HTTP, or in a frame.
use std::{
    convert::Infallible,
    fmt,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use flash_protocol::wire::exchange::AnswerFrame;
use http::{HeaderValue, StatusCode, header};
use http_body_util::Full;
use hyper::body::{Body, Frame, Incoming, SizeHint};

/// The body of an answer.
pub(super) enum AnswerBody {
    Http(Incoming),
    Framed(Full<Bytes>),
}

/// Why a body broke off.
#[derive(Debug)]
pub(super) struct BrokenOff(hyper::Error);

impl fmt::Display for BrokenOff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = BrokenOff;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        match self.get_mut() {
            Self::Http(body) => Pin::new(body).poll_frame(cx).map_err(BrokenOff),
            Self::Framed(body) => {
                Pin::new(body).poll_frame(cx).map_err(|impossible: Infallible| match impossible {})
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Http(body) => body.is_end_stream(),
            Self::Framed(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Http(body) => body.size_hint(),
            Self::Framed(body) => body.size_hint(),
        }
    }
}

/// The answer in a frame; `None` if it is none, as an interim response.
pub(super) fn response_of(answer: AnswerFrame) -> Option<http::Response<AnswerBody>> {
    let AnswerFrame { status, headers, mut body, .. } = answer;
    let status = StatusCode::from_u16(status).ok().filter(|status| !status.is_informational())?;
    let mut headers = headers.into_headers()?;
    // What is true of the bytes that are here. The server of the client's connection does the rest.
    if matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED) {
        headers.remove(header::CONTENT_LENGTH);
        body = Bytes::new();
    } else {
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(body.len()));
    }
    let mut response = http::Response::new(AnswerBody::Framed(Full::new(body)));
    (*response.status_mut(), *response.headers_mut()) = (status, headers);
    Some(response)
}

#[cfg(test)]
mod tests {
    use flash_protocol::wire::exchange::Fields;

    use super::*;

    fn answer(status: u16, headers: &[(&str, &'static str)]) -> AnswerFrame {
        let field =
            |(name, value): &(&str, &'static str)| ((*name).into(), Bytes::from_static(value.as_bytes()));
        let headers = Fields(headers.iter().map(field).collect());
        AnswerFrame { slot: 1, status, headers, body: Bytes::from_static(b"four") }
    }

    #[test]
    fn the_length_is_that_of_the_bytes_whatever_the_worker_says() {
        let response = response_of(answer(200, &[("content-length", "9"), ("x-own", "1")])).unwrap();
        assert_eq!(response.headers()[header::CONTENT_LENGTH], "4");
        assert_eq!(response.headers()["x-own"], "1");
        let response = response_of(answer(204, &[("content-length", "9")])).unwrap();
        assert!(!response.headers().contains_key(header::CONTENT_LENGTH) && response.body().is_end_stream());
    }

    #[test]
    fn what_is_no_answer_is_refused() {
        for wrong in
            [answer(101, &[]), answer(99, &[]), answer(200, &[("no name", "1")]), answer(200, &[("x", "\n")])]
        {
            assert!(response_of(wrong).is_none());
        }
    }
}
