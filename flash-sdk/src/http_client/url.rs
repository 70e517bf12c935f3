//! Parts of URLs.

/// Whether a URL points to this machine.
pub(super) fn is_local(url: &str) -> bool {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let authority = authority.rsplit('@').next().unwrap_or_default();
    let host = match authority.strip_prefix('[') {
        Some(rest) => rest.split(']').next(),
        None => authority.split(':').next(),
    };
    let host = host.unwrap_or_default();
    flash_http::is_loopback(host)
}

/// One path segment, percent-encoded.
pub(crate) fn escaped(segment: &str) -> String {
    let keep = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
    segment
        .bytes()
        .map(|byte| if keep(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_segment_is_escaped() {
        assert_eq!(escaped("a/b c"), "a%2Fb%20c");
    }

    #[test]
    fn no_proxy_stands_before_this_machine() {
        for local in
            ["http://127.0.0.1:8900/v2/w", "http://localhost:1/", "http://LocalHost", "http://[::1]:80/x"]
        {
            assert!(is_local(local), "{local}");
        }
        for other in
            ["https://api.runpod.ai/v2/x", "http://localhost.example.org/", "http://10.0.0.1/localhost"]
        {
            assert!(!is_local(other), "{other}");
        }
    }
}
