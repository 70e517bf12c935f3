//! The headers that describe the client's connection to a worker: `Forwarded` and `X-Forwarded-*`.
//!
//! Such headers from the client are removed: anyone can write them, and frameworks that trust them would believe the
//! client.
use std::net::IpAddr;

use http::{HeaderMap, HeaderName, HeaderValue, header};

/// Beside those that begin with `x-forwarded`.
const OTHERS: [&str; 4] = ["forwarded", "x-real-ip", "x-client-ip", "x-original-host"];

/// Replaces them with the platform's data. `Host` is the client's, validated.
pub(super) fn announce(headers: &mut HeaderMap, client: IpAddr) {
    let given: Vec<HeaderName> = headers
        .keys()
        .filter(|name| {
            // Many frameworks do not distinguish the two.
            let name = name.as_str().replace('_', "-");
            name.starts_with("x-forwarded") || OTHERS.contains(&name.as_str())
        })
        .cloned()
        .collect();
    for name in given {
        headers.remove(name);
    }
    let host = headers.get(header::HOST).cloned();
    let address = match client.to_canonical() {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => format!("\"[{address}]\""),
    };
    let named = host.as_ref().and_then(|host| host.to_str().ok());
    // A port needs quotes; a quote or backslash is in no host.
    let named = named.map_or(String::new(), |host| format!(";host=\"{host}\""));
    let mut say = |name: &'static str, value: Option<HeaderValue>| {
        if let Some(value) = value {
            headers.insert(name, value);
        }
    };
    say("forwarded", HeaderValue::from_str(&format!("for={address}{named};proto=http")).ok());
    say("x-forwarded-for", HeaderValue::from_str(&client.to_canonical().to_string()).ok());
    say("x-forwarded-host", host);
    say("x-forwarded-proto", Some(HeaderValue::from_static("http")));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn announced(client: &str, headers: &[(&str, &str)]) -> Vec<(String, String)> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(name.parse::<HeaderName>().unwrap(), value.parse().unwrap());
        }
        announce(&mut map, client.parse().unwrap());
        let mut seen: Vec<_> =
            map.iter().map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned())).collect();
        seen.sort();
        seen
    }

    fn owned(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn a_worker_is_told_what_the_platform_knows_and_not_what_the_client_says() {
        let given = [
            ("host", "box:8888"),
            ("forwarded", "for=1.2.3.4;proto=https"),
            ("x-forwarded-for", "1.2.3.4"),
            ("x-forwarded-for", "5.6.7.8"),
            ("x-forwarded-host", "bank.example"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-port", "443"),
            ("x-forwarded-prefix", "/admin"),
            ("x-forwarded", "1.2.3.4"),
            ("x-real-ip", "1.2.3.4"),
            ("x_forwarded_for", "1.2.3.4"),
            ("accept", "*/*"),
        ];
        let expected = [
            ("accept", "*/*"),
            ("forwarded", "for=10.0.0.7;host=\"box:8888\";proto=http"),
            ("host", "box:8888"),
            ("x-forwarded-for", "10.0.0.7"),
            ("x-forwarded-host", "box:8888"),
            ("x-forwarded-proto", "http"),
        ];
        assert_eq!(announced("10.0.0.7", &given), owned(&expected));
        assert_eq!(announced("::ffff:10.0.0.7", &given), owned(&expected));
        let expected = [
            ("forwarded", "for=\"[fd00::7]\";proto=http"),
            ("x-forwarded-for", "fd00::7"),
            ("x-forwarded-proto", "http"),
        ];
        assert_eq!(announced("fd00::7", &[]), owned(&expected));
    }
}
