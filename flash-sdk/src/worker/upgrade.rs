//! Opens a connection to the platform that both sides write to: HTTP with an upgrade.
use std::net::IpAddr;

use http::HeaderMap;
use http_body_util::Empty;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// A connection after the upgrade.
pub(super) struct Opened {
    /// Those of the answer.
    pub headers: HeaderMap,
    pub connection: Upgraded,
    /// The address of this side: the platform reaches it there.
    pub own_host: IpAddr,
}

/// Sends `GET` with an upgrade to this protocol, over plain HTTP.
///
/// # Errors
/// When the URL is not one of `http`, nobody listens there, or the platform refuses.
pub(super) async fn open(
    url: &str,
    protocol: &str,
    authorization: &str,
    headers: &[(&str, &str)],
) -> Result<Opened, String> {
    let uri: http::Uri = url.parse().map_err(|error| format!("not a URL: {error}"))?;
    let (Some("http"), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
        return Err("expected an http:// URL".to_owned());
    };
    let port = authority.port_u16().unwrap_or(80);
    // A URL has brackets around an IPv6 address, a socket address does not.
    let host = authority.host().trim_start_matches('[').trim_end_matches(']');
    let stream = TcpStream::connect((host, port)).await.map_err(|error| error.to_string())?;
    stream.set_nodelay(true).map_err(|error| error.to_string())?;
    let own_host = stream.local_addr().map_err(|error| error.to_string())?.ip();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| error.to_string())?;
    // Ends when the upgrade hands the stream over.
    tokio::spawn(async move { connection.with_upgrades().await });
    let mut request = http::Request::get(uri.path_and_query().map_or("/", |path| path.as_str()))
        .header("host", authority.as_str())
        .header("connection", "upgrade")
        .header("upgrade", protocol)
        .header("authorization", authorization);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Empty::<bytes::Bytes>::new()).map_err(|error| error.to_string())?;
    let response = sender.send_request(request).await.map_err(|error| error.to_string())?;
    if response.status() != http::StatusCode::SWITCHING_PROTOCOLS {
        return Err(format!("the platform answered {}", response.status()));
    }
    let headers = response.headers().clone();
    let connection = hyper::upgrade::on(response).await.map_err(|error| error.to_string())?;
    Ok(Opened { headers, connection, own_host })
}
