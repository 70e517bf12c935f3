//! The HTTP client that every part of Flash starts from, and which hosts are this machine.
//!
//! What is sent where, what is tried again, and which redirects may be followed is decided by those who send. With the
//! feature `retry`, [`retry`] has the pauses between tries.
#![warn(unreachable_pub)]

#[cfg(feature = "retry")]
pub mod retry;

use std::{net::IpAddr, time::Duration};

/// How long a connection may take to be made.
pub const CONNECT_LIMIT: Duration = Duration::from_secs(10);

/// A client with TLS by rustls on ring and the machine's certificates. It sends `User-Agent: flash/VERSION`, gives up on
/// a connection after [`CONNECT_LIMIT`], and follows no redirects, because a redirect would take a key or an input to an
/// address that nobody chose. All of this can be changed on the builder.
pub fn client() -> reqwest::ClientBuilder {
    // rustls needs a provider of cryptography, even when nothing is encrypted. It does not matter who installs it first.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder()
        .user_agent(concat!("flash/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(CONNECT_LIMIT)
        .redirect(reqwest::redirect::Policy::none())
}

/// Whether a host is this machine's loopback: `localhost` or a loopback address, an IPv6 address with or without its
/// brackets. Names are not resolved. A proxy elsewhere cannot reach it.
pub fn is_loopback(host: &str) -> bool {
    let address = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    host.eq_ignore_ascii_case("localhost")
        || address.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_localhost_and_loopback_addresses_are_this_machine() {
        for host in ["localhost", "LOCALHOST", "127.0.0.1", "127.9.9.9", "::1", "[::1]"] {
            assert!(is_loopback(host), "{host}");
        }
        for host in [
            "localhost.example",
            "127.evil.example",
            "10.0.0.1",
            "[::2]",
            "[localhost]",
            "[::1",
            "0.0.0.0",
            "",
        ] {
            assert!(!is_loopback(host), "{host}");
        }
    }
}
