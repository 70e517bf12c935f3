//! How reqwest's results are interpreted: kinds of failure, limits of size and time.
use std::{
    error::Error,
    io,
    time::{Duration, SystemTime},
};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, StatusCode, header};
use reqwest::{Response, Url, redirect};
use serde::Deserialize;

use super::{address::Address, error::RegistryError};

/// The limit between two pieces of an answer.
pub(super) const SILENCE: Duration = Duration::from_secs(60);
/// The largest error body of a registry.
const REASON_BYTES: usize = 64 * 1024;
const REASON_CHARS: usize = 300;
/// Redirects in a row.
const REDIRECTS: usize = 10;

/// Where a redirect may lead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Redirects {
    /// To other hosts too, for registries that store blobs elsewhere.
    Anywhere,
    /// Only to the same server, which gets credentials: reqwest omits `Authorization` for another host, but sends a
    /// body wherever it is redirected.
    SameOrigin,
}

/// A client for one registry and its redirects.
pub(super) fn client(address: &Address, redirects: Redirects) -> Result<reqwest::Client, RegistryError> {
    let builder = || {
        let own = address.clone();
        let follow = move |attempt: redirect::Attempt<'_>| {
            let refused = wrong_turn(&own, redirects, attempt.previous(), attempt.url());
            match refused {
                Some(reason) => attempt.error(reason),
                None => attempt.follow(),
            }
        };
        let builder = flash_http::client().redirect(redirect::Policy::custom(follow)).referer(false);
        // A proxy elsewhere cannot reach this machine's loopback.
        if address.is_loopback() { builder.no_proxy() } else { builder }
    };
    builder().build().or_else(|_| {
        // The usual cause is a system without any certificates, such as a small container.
        let built_in = webpki_root_certs::TLS_SERVER_ROOT_CERTS.iter();
        let built_in = built_in.filter_map(|certificate| reqwest::Certificate::from_der(certificate).ok());
        builder()
            .tls_certs_only(built_in)
            .build()
            .map_err(|source| RegistryError::Client { source: source.into() })
    })
}

/// What is wrong with a redirect, if anything.
fn wrong_turn(address: &Address, redirects: Redirects, previous: &[Url], next: &Url) -> Option<&'static str> {
    if previous.len() > REDIRECTS {
        return Some("too many redirects");
    }
    if !address.may_name(next) {
        return Some("a redirect leads away from TLS");
    }
    let stays = previous.iter().all(|url| url.origin() == next.origin());
    (redirects == Redirects::SameOrigin && !stays).then_some("a redirect leads to another server")
}

/// No answer came.
pub(super) fn failure(registry: &str, error: reqwest::Error) -> RegistryError {
    // URLs may be signed.
    let error = error.without_url();
    let registry = registry.to_owned();
    match tls_error(&error) {
        Some(rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer)) => {
            RegistryError::UnknownAuthority { registry, source: error.into() }
        }
        Some(
            rustls::Error::InvalidCertificate(_)
            | rustls::Error::InvalidMessage(_)
            | rustls::Error::PeerIncompatible(_)
            | rustls::Error::AlertReceived(_),
        ) => RegistryError::Tls { registry, source: error.into() },
        _ if error.is_redirect() => {
            RegistryError::Protocol { registry, what: flash_text::error_chain(&error) }
        }
        _ if error.is_connect() => RegistryError::Unreachable { registry, source: error.into() },
        _ => RegistryError::Broken { registry, source: error.into() },
    }
}

/// Nothing came for this long.
pub(super) fn silence(registry: &str, limit: Duration) -> RegistryError {
    let what = format!("no data was transferred for {} s", limit.as_secs());
    RegistryError::Broken {
        registry: registry.to_owned(),
        source: io::Error::new(io::ErrorKind::TimedOut, what).into(),
    }
}

fn tls_error<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a rustls::Error> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref::<rustls::Error>() {
            return Some(found);
        }
        // An I/O error does not report what it wraps in `source`.
        let wrapped = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        next = match wrapped {
            Some(wrapped) => Some(wrapped as &(dyn Error + 'static)),
            None => error.source(),
        };
    }
    None
}

/// The next piece of an answer's body.
pub(super) async fn piece(answer: &mut Response, registry: &str) -> Result<Option<Bytes>, RegistryError> {
    match tokio::time::timeout(SILENCE, answer.chunk()).await {
        Ok(piece) => piece.map_err(|error| failure(registry, error)),
        Err(_) => Err(silence(registry, SILENCE)),
    }
}

/// A whole body that must not be longer than `most`.
pub(super) async fn body(mut answer: Response, registry: &str, most: usize) -> Result<Bytes, RegistryError> {
    let mut whole = BytesMut::new();
    while let Some(piece) = piece(&mut answer, registry).await? {
        if whole.len() + piece.len() > most {
            let what = format!("it answered with more than {most} bytes where a short answer was expected");
            return Err(RegistryError::Protocol { registry: registry.to_owned(), what });
        }
        whole.extend_from_slice(&piece);
    }
    Ok(whole.freeze())
}

/// A registry's error body.
#[derive(Debug, Default)]
pub(super) struct Refusal {
    /// A code of the specification's list: `DENIED`, `MANIFEST_INVALID`, …
    pub code: String,
    /// Its message, safe to show.
    pub reason: Option<String>,
}

#[derive(Deserialize)]
struct Errors {
    #[serde(default)]
    errors: Vec<Complaint>,
}

#[derive(Deserialize)]
struct Complaint {
    #[serde(default)]
    code: String,
    #[serde(default)]
    message: String,
    #[serde(default)]
    detail: serde_json::Value,
}

impl Refusal {
    /// Reads as much of it as there is; an error without a body is valid too.
    pub(super) async fn read(mut answer: Response, registry: &str) -> Self {
        let mut text = Vec::new();
        while let Ok(Some(piece)) = piece(&mut answer, registry).await {
            text.extend_from_slice(&piece);
            if text.len() > REASON_BYTES {
                return Self::default();
            }
        }
        Self::parse(&text)
    }

    fn parse(text: &[u8]) -> Self {
        let Ok(Errors { errors }) = serde_json::from_slice(text) else { return Self::default() };
        let Some(first) = errors.into_iter().next() else { return Self::default() };
        let Complaint { code, message, detail } = first;
        let words = match detail {
            serde_json::Value::String(detail) => format!("{message}: {detail}"),
            _ => message,
        };
        Self { reason: printable(&words).or_else(|| printable(&code)), code }
    }
}

/// As one line of limited length, without control characters.
fn printable(text: &str) -> Option<String> {
    let text: String = text
        .trim()
        .chars()
        .map(|char| if char.is_control() { ' ' } else { char })
        .take(REASON_CHARS)
        .collect();
    (!text.is_empty()).then_some(text)
}

/// The pause that an answer asks for.
pub(super) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let value = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    match value.parse() {
        Ok(seconds) => Some(Duration::from_secs(seconds)),
        Err(_) => httpdate::parse_http_date(value).ok()?.duration_since(SystemTime::now()).ok(),
    }
}

/// Whether the status alone says that another try may help.
pub(super) fn is_passing(status: StatusCode) -> bool {
    status == StatusCode::TOO_MANY_REQUESTS
        || status == StatusCode::REQUEST_TIMEOUT
        || (status.is_server_error() && status != StatusCode::NOT_IMPLEMENTED)
}

#[cfg(any(test, fuzzing))]
flash_test_support::fuzz_target!("registry_refusal", |data| {
    if let Some(reason) = Refusal::parse(data).reason {
        assert!(reason.chars().count() <= REASON_CHARS && !reason.contains('\n'), "{reason}");
    }
});

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::reference;

    #[test]
    fn a_refusal_is_told_in_one_clean_line() {
        let refusal = Refusal::parse(
            br#"{"errors":[{"code":"UNKNOWN","message":"unknown error","detail":"write x:\n\u001b[2Jno space left"}]}"#,
        );
        assert_eq!(refusal.code, "UNKNOWN");
        assert_eq!(refusal.reason.unwrap(), "unknown error: write x:  [2Jno space left");
        for nothing in ["", "<html>", "{}", r#"{"errors":[]}"#, r#"{"errors":[{}]}"#] {
            assert_eq!(Refusal::parse(nothing.as_bytes()).reason, None, "{nothing}");
        }
        let long = format!(r#"{{"errors":[{{"message":"{}"}}]}}"#, "x".repeat(5_000));
        assert_eq!(Refusal::parse(long.as_bytes()).reason.unwrap().len(), REASON_CHARS);
    }

    #[test]
    fn redirects_lead_nowhere_that_the_registry_may_not_name() {
        let address = |name: &str| Address::of(&reference(name).unwrap()).unwrap();
        let (here, elsewhere) = (address("127.0.0.1:5000/a"), address("registry.example/a"));
        let url = |url: &str| Url::parse(url).unwrap();
        let turn = |address, redirects, from: &str, to: &str| {
            wrong_turn(address, redirects, &[url(from)], &url(to)).is_none()
        };
        let (anywhere, same) = (Redirects::Anywhere, Redirects::SameOrigin);
        assert!(turn(&elsewhere, anywhere, "https://registry.example/a", "https://blobs.example/b"));
        assert!(!turn(&elsewhere, anywhere, "https://registry.example/a", "http://127.0.0.1:9000/b"));
        assert!(!turn(&elsewhere, anywhere, "https://registry.example/a", "http://registry.example/b"));
        assert!(turn(&here, anywhere, "http://127.0.0.1:5000/a", "http://127.0.0.1:9000/b"));
        assert!(turn(&elsewhere, same, "https://tokens.example/a", "https://tokens.example/b"));
        assert!(!turn(&elsewhere, same, "https://tokens.example/a", "https://tokens.example:444/b"));
        let many = vec![url("https://registry.example/a"); REDIRECTS + 1];
        assert!(wrong_turn(&elsewhere, anywhere, &many, &url("https://registry.example/b")).is_some());
    }

    #[test]
    fn a_pause_is_asked_for_in_seconds_or_by_a_date() {
        let asked =
            |value: &str| retry_after(&HeaderMap::from_iter([(header::RETRY_AFTER, value.parse().unwrap())]));
        assert_eq!(asked("7"), Some(Duration::from_secs(7)));
        let date = httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(100));
        assert!(asked(&date).is_some_and(|pause| pause.as_secs() > 50));
        assert_eq!(asked("soon"), None);
        assert_eq!(asked("Sun, 06 Nov 1994 08:49:37 GMT"), None);
    }
}
