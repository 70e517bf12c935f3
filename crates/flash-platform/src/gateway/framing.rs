//! Checks the head of a request beyond what the HTTP library does: one host, and a body whose end is unambiguous for
//! every server on the way.
//!
//! The library has already refused invalid heads, two different lengths, and a list of transfer codings that does not
//! end with `chunked` (400). A request that is refused here ends its connection, because the bytes that follow may
//! belong to it.
use http::{
    HeaderMap, HeaderValue, Method, Request, StatusCode, Uri, Version,
    header::{EXPECT, HOST, TRANSFER_ENCODING},
    uri::{Authority, Scheme},
};

use super::error::Refusal;

/// Checks the head, and converts the URI to the form `/PATH?QUERY`.
///
/// # Errors
/// 400 for a host that is missing, repeated or different from the URI; 405 for CONNECT; 501 for a transfer coding
/// other than `chunked`.
pub(super) fn check<B>(request: &mut Request<B>) -> Result<(), Refusal> {
    if *request.method() == Method::CONNECT {
        let allow = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS".to_owned();
        return Err(Refusal::method_not_allowed(
            request.method(),
            "this address, which is not a proxy",
            allow,
        ));
    }
    check_codings(request.headers())?;
    let host = host(request.headers(), request.version())?;
    let Some(named) = request.uri().authority().cloned() else { return Ok(()) };
    let scheme = request.uri().scheme();
    if scheme.is_some_and(|scheme| *scheme != Scheme::HTTP && *scheme != Scheme::HTTPS) {
        return Err(Refusal::bad_request("the request line names a scheme other than http and https"));
    }
    match host {
        Some(host) if !is_same(&host, &named, scheme) => {
            return Err(Refusal::bad_request("the request line and the header Host name different hosts"));
        }
        Some(_) => {}
        None => {
            let host = HeaderValue::from_str(named.as_str());
            request.headers_mut().insert(HOST, host.expect("an authority is visible ASCII"));
        }
    }
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
    let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
    let uri = path.parse::<Uri>();
    *request.uri_mut() =
        uri.map_err(|error| Refusal::bad_request(format!("the path is not valid: {error}")))?;
    Ok(())
}

/// Whether the client waits for `100 Continue` before it sends the body.
pub(super) fn waits_to_send(headers: &HeaderMap) -> bool {
    headers.get(EXPECT).is_some_and(|expected| expected.as_bytes().eq_ignore_ascii_case(b"100-continue"))
}

fn check_codings(headers: &HeaderMap) -> Result<(), Refusal> {
    let mut codings = Vec::new();
    for value in headers.get_all(TRANSFER_ENCODING) {
        let text = value.to_str().unwrap_or("?");
        codings.extend(text.split(',').map(str::trim).filter(|coding| !coding.is_empty()));
    }
    match codings.as_slice() {
        [] => Ok(()),
        [only] if only.eq_ignore_ascii_case("chunked") => Ok(()),
        _ => {
            let message = "the body has a transfer coding other than `chunked`: send it as `chunked` only, or with a length";
            Err(Refusal::new(StatusCode::NOT_IMPLEMENTED, flash_protocol::ErrorKind::Refused, message))
        }
    }
}

/// The host, of which there must be only one. HTTP/1.0 may omit it.
fn host(headers: &HeaderMap, version: Version) -> Result<Option<Authority>, Refusal> {
    let mut named = headers.get_all(HOST).iter();
    let host = match (named.next(), named.next()) {
        (None, _) if version == Version::HTTP_10 => return Ok(None),
        (None, _) => return Err(Refusal::bad_request("the header Host is missing")),
        (Some(_), Some(_)) => return Err(Refusal::bad_request("the header Host appears more than once")),
        (Some(host), None) => host,
    };
    let host = host.to_str().ok().and_then(|text| text.parse::<Authority>().ok());
    let is_plain = |host: &Authority| {
        host.as_str().bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~:[]".contains(&byte))
    };
    match host.filter(is_plain) {
        Some(host) => Ok(Some(host)),
        None => {
            Err(Refusal::bad_request("the header Host is not a host name or address with an optional port"))
        }
    }
}

fn is_same(host: &Authority, named: &Authority, scheme: Option<&Scheme>) -> bool {
    let usual = if scheme == Some(&Scheme::HTTPS) { 443 } else { 80 };
    let port = |authority: &Authority| authority.port_u16().unwrap_or(usual);
    !named.as_str().contains('@')
        && host.host().eq_ignore_ascii_case(named.host())
        && port(host) == port(named)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The status of the refusal, or the resulting URI.
    fn checked(version: Version, method: &str, uri: &str, headers: &[(&str, &str)]) -> Result<String, u16> {
        let mut request = Request::builder().version(version).method(method).uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut request = request.body(()).unwrap();
        check(&mut request).map(|()| request.uri().to_string()).map_err(|refusal| refusal.status().as_u16())
    }

    #[test]
    fn a_request_names_one_host_and_nothing_contradicts_it() {
        const HOST: (&str, &str) = ("host", "box:8888");
        /// Version, target and headers of a request, and the target that is left of it or the refusal.
        type Case<'a> = (Version, &'a str, &'a [(&'a str, &'a str)], Result<&'a str, u16>);
        let cases: &[Case<'_>] = &[
            (Version::HTTP_11, "/a?b=1", &[HOST], Ok("/a?b=1")),
            (Version::HTTP_11, "/a", &[("host", "[::1]:8888")], Ok("/a")),
            (Version::HTTP_11, "/a", &[], Err(400)),
            (Version::HTTP_10, "/a", &[], Ok("/a")),
            (Version::HTTP_11, "/a", &[HOST, HOST], Err(400)),
            (Version::HTTP_10, "/a", &[HOST, ("host", "other")], Err(400)),
            (Version::HTTP_11, "/a", &[("host", "")], Err(400)),
            (Version::HTTP_11, "/a", &[("host", "a b")], Err(400)),
            (Version::HTTP_11, "/a", &[("host", "a,b")], Err(400)),
            (Version::HTTP_11, "/a", &[("host", "user@box")], Err(400)),
            (Version::HTTP_11, "/a", &[("host", "box/path")], Err(400)),
            (Version::HTTP_11, "http://BOX:8888/a?b=1", &[HOST], Ok("/a?b=1")),
            (Version::HTTP_11, "http://box:8888", &[HOST], Ok("/")),
            (Version::HTTP_11, "http://box/a", &[("host", "box:80")], Ok("/a")),
            (Version::HTTP_11, "http://other:8888/a", &[HOST], Err(400)),
            (Version::HTTP_11, "http://box:9999/a", &[HOST], Err(400)),
            (Version::HTTP_11, "ftp://box:8888/a", &[HOST], Err(400)),
            (Version::HTTP_10, "http://box:8888/a", &[], Ok("/a")),
        ];
        for (version, uri, headers, expected) in cases {
            let expected = expected.map(str::to_owned);
            assert_eq!(checked(*version, "GET", uri, headers), expected, "{version:?} {uri} {headers:?}");
        }
        assert_eq!(checked(Version::HTTP_11, "CONNECT", "box:8888", &[HOST]), Err(405));
    }

    #[test]
    fn only_the_coding_chunked_is_known() {
        for (codings, expected) in [
            (&["chunked"][..], Ok("/a".to_owned())),
            (&["Chunked"], Ok("/a".to_owned())),
            (&["gzip, chunked"], Err(501)),
            (&["gzip", "chunked"], Err(501)),
            (&["chunked, chunked"], Err(501)),
            (&["identity, chunked"], Err(501)),
        ] {
            let headers = codings.iter().map(|coding| ("transfer-encoding", *coding));
            let headers: Vec<_> = [("host", "box")].into_iter().chain(headers).collect();
            assert_eq!(checked(Version::HTTP_11, "POST", "/a", &headers), expected, "{codings:?}");
        }
    }
}
