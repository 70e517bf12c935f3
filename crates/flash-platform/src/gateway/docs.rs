//! The API pages: `/docs` with a vendored Swagger UI that works offline, and `/openapi.json`.
use std::{
    io::Read as _,
    sync::{Arc, OnceLock},
};

use axum::{
    Json,
    extract::State,
    response::{Html, IntoResponse as _, Response},
};
use bytes::Bytes;
use flash_text::Truncated;
use flate2::read::GzDecoder;
use http::{HeaderMap, HeaderValue, Method, header};
use serde_json::json;
use tokio::task::spawn_blocking;

use super::{error::Refusal, extract::Segments, respond::json_text, state::GatewayState};
use crate::release::Release;

/// From the `swagger-ui-dist` package; its licence is in the same directory.
static SCRIPT: Asset = Asset {
    content_type: "text/javascript; charset=utf-8",
    compressed: include_bytes!("../../assets/swagger-ui/swagger-ui-bundle.js.gz"),
    plain: OnceLock::new(),
};
static STYLE: Asset = Asset {
    content_type: "text/css; charset=utf-8",
    compressed: include_bytes!("../../assets/swagger-ui/swagger-ui.css.gz"),
    plain: OnceLock::new(),
};
const PAGE: &str = include_str!("../../assets/swagger-ui/index.html");

/// A vendored file.
struct Asset {
    content_type: &'static str,
    /// By gzip.
    compressed: &'static [u8],
    /// Decompressed for the first client that does not accept gzip. Browsers do.
    plain: OnceLock<Bytes>,
}

impl Asset {
    fn plain(&self) -> Bytes {
        let decompress = || {
            let mut plain = Vec::new();
            let mut decoder = GzDecoder::new(self.compressed);
            decoder.read_to_end(&mut plain).expect("the vendored files are gzip, as a test sees");
            plain.into()
        };
        self.plain.get_or_init(decompress).clone()
    }
}

/// What the app is, at the root.
///
/// # Errors
/// 405 for a method other than GET and HEAD.
pub(super) fn index(release: &Release, method: &Method) -> Result<Response, Refusal> {
    if !matches!(*method, Method::GET | Method::HEAD) {
        return Err(Refusal::method_not_allowed(method, "/", "GET, HEAD".to_owned()));
    }
    let app = &release.manifest.app;
    Ok(Json(json!({ "app": app.name, "version": app.version, "docs": "/docs" })).into_response())
}

/// Not allowed in frames, where another page could trick users into clicking its buttons.
pub(super) async fn page() -> Response {
    let unframed = [
        (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static("frame-ancestors 'none'")),
        (header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
    ];
    (unframed, Html(PAGE)).into_response()
}

pub(super) async fn file(Segments(name): Segments<String>, headers: HeaderMap) -> Result<Response, Refusal> {
    let asset = match name.as_str() {
        "swagger-ui-bundle.js" => &SCRIPT,
        "swagger-ui.css" => &STYLE,
        _ => {
            return Err(Refusal::not_found(format!(
                "no page at /docs/{}; did you mean `/docs`?",
                Truncated(&name)
            )));
        }
    };
    let headers_of_both = [
        (header::CONTENT_TYPE, HeaderValue::from_static(asset.content_type)),
        (header::VARY, HeaderValue::from_static("accept-encoding")),
    ];
    if accepts_gzip(&headers) {
        let coding = [(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"))];
        return Ok((headers_of_both, coding, asset.compressed).into_response());
    }
    let plain = match asset.plain.get() {
        Some(plain) => plain.clone(),
        None => spawn_blocking(|| asset.plain()).await.expect("decompressing a vendored file does not panic"),
    };
    Ok((headers_of_both, plain).into_response())
}

fn accepts_gzip(headers: &HeaderMap) -> bool {
    let listed = headers.get_all(header::ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    listed.flat_map(|value| value.split(',')).any(|coding| {
        let (name, weight) = coding.split_once(';').unwrap_or((coding, ""));
        let weight = weight.trim().strip_prefix("q=").and_then(|weight| weight.trim().parse::<f32>().ok());
        name.trim().eq_ignore_ascii_case("gzip") && weight != Some(0.0)
    })
}

pub(super) async fn openapi(State(state): State<Arc<GatewayState>>) -> Result<Response, Refusal> {
    let requires_key = state.access_control.hosts_without_key().is_none();
    Ok(json_text(state.live()?.openapi(requires_key).to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn files_of_the_page_come_as_the_client_reads_them() {
        for (accepted, is_compressed) in [
            ("gzip, br", true),
            ("br;q=1.0, GZIP;q=0.5", true),
            ("gzip;q=0", false),
            ("br", false),
            ("", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static(accepted));
            for (name, start) in [("swagger-ui.css", ".swagger-ui"), ("swagger-ui-bundle.js", "/*!")] {
                let answer = file(Segments(name.to_owned()), headers.clone()).await.unwrap();
                assert_eq!(
                    answer.headers().contains_key(header::CONTENT_ENCODING),
                    is_compressed,
                    "{accepted}"
                );
                let body = axum::body::to_bytes(answer.into_body(), usize::MAX).await.unwrap();
                assert_eq!(body.starts_with(start.as_bytes()), !is_compressed, "{name} for {accepted}");
            }
        }
    }
}
