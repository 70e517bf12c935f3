//! Which requests are allowed without a key: not those from web pages of other sites.
//!
//! Without a key, anyone who can reach the port may send requests, and a browser on this machine or network can do so
//! for any page that it shows. Such requests are recognised by the headers that browsers set (`Sec-Fetch-Site`,
//! `Origin`). A site that points its own name at this address (DNS rebinding) is recognised by that name in `Host`.
//! Other programs do not send these headers, and use an address or a name of this machine.
use std::net::IpAddr;

use http::{HeaderMap, Method, Request, StatusCode, Uri, header, uri::Authority};

use super::error::Refusal;

/// Characters of a client's host in a refusal.
const SHOWN: usize = 100;

/// Names by which containers reach the machine that they run on.
const OF_CONTAINERS: [&str; 2] = ["host.docker.internal", "host.containers.internal"];

/// Host names that are allowed without a key, in addition to addresses and `localhost`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AllowedHosts(Vec<String>);

/// A name that no host can have.
#[derive(Debug, thiserror::Error)]
#[error(
    "`{0}` is not a host name: write it without scheme and port, such as `box.example.com` or `*.example.com`"
)]
pub struct NotAHost(String);

impl AllowedHosts {
    /// Allows these names; `*.NAME` stands for everything below `NAME`.
    ///
    /// # Errors
    /// If a text is not a host name.
    pub fn new(names: impl IntoIterator<Item = String>) -> Result<Self, NotAHost> {
        let checked = |name: String| {
            let plain = name.strip_prefix("*.").unwrap_or(&name);
            let is_name = !plain.is_empty()
                && plain.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
            if is_name { Ok(normal(&name)) } else { Err(NotAHost(name)) }
        };
        names.into_iter().map(checked).collect::<Result<_, _>>().map(Self)
    }

    /// And the names of this machine: its host name, alone and as `NAME.local`.
    #[must_use]
    pub fn and_this_machine(mut self) -> Self {
        self.0.extend(OF_CONTAINERS.map(str::to_owned));
        // A machine without a name is only reached by address.
        if let Some(name) = nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok()) {
            let name = normal(&name);
            let short = name.split('.').next().unwrap_or_default().to_owned();
            if !short.is_empty() {
                self.0.extend([format!("{short}.local"), short, name]);
            }
        }
        self
    }

    fn allows(&self, host: &str) -> bool {
        let host = normal(host);
        let fits = |name: &String| match name.strip_prefix('*') {
            Some(end) => host.len() > end.len() && host.ends_with(end),
            None => *name == host,
        };
        is_this_machine(&host) || address(&host).is_some() || self.0.iter().any(fits)
    }
}

/// Names are equal regardless of case and a trailing dot.
fn normal(host: &str) -> String {
    host.trim_end_matches('.').to_ascii_lowercase()
}

fn address(host: &str) -> Option<IpAddr> {
    host.trim_start_matches('[').trim_end_matches(']').parse().ok()
}

fn is_this_machine(host: &str) -> bool {
    host.ends_with(".localhost") || flash_http::is_loopback(host)
}

/// Accepts a request unless a browser sent it for a page of another site.
///
/// # Errors
/// 403 with what to do.
pub(super) fn check<B>(request: &Request<B>, allowed: &AllowedHosts) -> Result<(), Refusal> {
    let refused = |message: String| {
        Err(Refusal::new(StatusCode::FORBIDDEN, flash_protocol::ErrorKind::Refused, message))
    };
    let asked = asked_host(request);
    if let Some(host) = asked.filter(|host| !allowed.allows(host)) {
        let host: String = host.chars().take(SHOWN).collect();
        return refused(format!(
            "host `{host}` is not allowed without a key: start flash with `--allow-host {host}`, or set \
             FLASH_API_KEY and send it as a bearer token"
        ));
    }
    if is_of_own_page(request.headers(), asked) && !is_of_other_site(request) {
        return Ok(());
    }
    refused(
        "requests from web pages of other sites are not allowed without a key: set FLASH_API_KEY and send it \
         as a bearer token".to_owned(),
    )
}

/// Whether the page in `Origin`, if any, is of this machine or of the requested host.
fn is_of_own_page(headers: &HeaderMap, asked: Option<&str>) -> bool {
    let origin = headers.get(header::ORIGIN).map(|origin| origin.to_str().unwrap_or_default());
    origin.is_none_or(|origin| {
        let origin = origin.parse::<Uri>().ok();
        let host = origin.as_ref().and_then(Uri::host);
        host.is_some_and(|host| {
            is_this_machine(host) || asked.is_some_and(|asked| asked.eq_ignore_ascii_case(host))
        })
    })
}

/// Whether a browser reports that the request is from a page of another site or port. Opening the pages of the
/// platform through a link is harmless.
fn is_of_other_site<B>(request: &Request<B>) -> bool {
    let said = |name: &str| request.headers().get(name).map(|value| value.to_str().unwrap_or_default());
    let is_elsewhere = said("sec-fetch-site").is_some_and(|site| !matches!(site, "same-origin" | "none"));
    let path = request.uri().path();
    let is_link = matches!(*request.method(), Method::GET | Method::HEAD)
        && (matches!(path, "/" | "/docs" | "/_flash") || path.starts_with("/_flash/"))
        && said("sec-fetch-mode") == Some("navigate")
        && said("sec-fetch-dest") == Some("document");
    is_elsewhere && !is_link
}

/// The requested host, without its port.
fn asked_host<B>(request: &Request<B>) -> Option<&str> {
    let Some(host) = request.headers().get(header::HOST) else { return request.uri().host() };
    // A header that is not a host and a port matches no name.
    let host = host.to_str().unwrap_or_default();
    // An IPv6 address contains colons, inside brackets.
    let end = host.rfind(']').map_or_else(|| host.find(':'), |bracket| Some(bracket + 1));
    let (name, port) = host.split_at(end.unwrap_or(host.len()));
    let is_plain = !host.contains('@') && host.parse::<Authority>().is_ok();
    let has_port = port.is_empty() || port.starts_with(':');
    Some(if is_plain && has_port { name } else { "" })
}

#[cfg(any(test, fuzzing))]
flash_test_support::fuzz_target!("host_and_origin", |data| {
    // The first line is `Host`, the second one, if there is one, `Origin`.
    let text = String::from_utf8_lossy(data);
    let (host, origin) = text.split_once('\n').map_or((&*text, None), |(host, origin)| (host, Some(origin)));
    let named = [(header::HOST, Some(host)), (header::ORIGIN, origin)];
    let headers = named.into_iter().filter_map(|(name, text)| Some((name, text?.parse().ok()?)));
    let mut request = Request::new(());
    request.headers_mut().extend(headers);
    let is_let_in = check(&request, &AllowedHosts::default()).is_ok();
    // What a browser takes them for.
    let host_of = |url: &str| Some(reqwest::Url::parse(url).ok()?.host_str()?.to_owned());
    let asked = request.headers().get(header::HOST).and_then(|_| host_of(&format!("http://{host}/")));
    let page = request.headers().get(header::ORIGIN).and_then(|_| host_of(origin?));
    if let (true, Some(asked)) = (is_let_in, &asked) {
        assert!(is_this_machine(&normal(asked)) || address(asked).is_some(), "{asked}");
    }
    if let (true, Some(page)) = (is_let_in, page) {
        assert!(is_this_machine(&normal(&page)) || asked.is_some_and(|asked| asked == page), "{page}");
    }
});

#[cfg(test)]
mod tests {
    use super::*;

    fn may(path: &str, headers: &[(&str, &str)], allowed: &AllowedHosts) -> bool {
        let mut request = Request::builder().uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        check(&request.body(()).unwrap(), allowed).is_ok()
    }

    fn allowed(names: &[&str]) -> AllowedHosts {
        AllowedHosts::new(names.iter().map(|name| (*name).to_owned())).unwrap()
    }

    #[test]
    fn a_listener_without_a_key_is_asked_by_addresses_and_by_names_that_it_knows() {
        let hosts = allowed(&["Box.lan", "*.tunnel.example"]);
        for host in
            ["localhost:8888", "app.localhost", "127.0.0.1:8888", "[::1]:8888", "10.0.0.7:80", "box.lan:8888"]
        {
            assert!(may("/f/run_sync", &[("host", host)], &hosts), "{host}");
        }
        assert!(may("/f/run_sync", &[], &hosts), "HTTP/1.0 has no Host");
        for host in ["BOX.LAN.", "a.tunnel.example:443"] {
            assert!(may("/f/run_sync", &[("host", host)], &hosts), "{host}");
        }
        for host in [
            "evil.example",
            "xbox.lan",
            "box.lan.evil.example",
            "tunnel.example",
            "localhost.evil.example",
            "localhost:80@evil.example",
            "[::1].evil.example",
            "",
        ] {
            assert!(!may("/f/run_sync", &[("host", host)], &hosts), "{host}");
        }
        assert!(!may("/f", &[("host", "box.lan")], &AllowedHosts::default()));
    }

    #[test]
    fn the_names_of_the_machine_are_known() {
        let hosts = AllowedHosts::default().and_this_machine();
        let name = nix::unistd::gethostname().unwrap().into_string().unwrap();
        assert!(hosts.allows(&name) && hosts.allows("host.docker.internal"), "{hosts:?}");
    }

    #[test]
    fn what_is_no_host_name_cannot_be_allowed() {
        for wrong in ["", "http://box.lan", "box.lan:80", "*", "*.", "two words"] {
            assert!(AllowedHosts::new([wrong.to_owned()]).is_err(), "{wrong}");
        }
    }

    #[test]
    fn pages_from_elsewhere_are_refused_and_everything_else_may_ask() {
        let hosts = allowed(&["box.lan"]);
        let ok: &[&[(&str, &str)]] = &[
            &[],
            &[("origin", "http://localhost:5173"), ("host", "localhost:8888")],
            &[("origin", "http://127.0.0.1:8888")],
            &[("origin", "http://[::1]:8888"), ("host", "[::1]:8888")],
            &[("origin", "https://box.lan"), ("host", "box.lan:8888")],
            &[
                ("sec-fetch-site", "same-origin"),
                ("origin", "http://localhost:8888"),
                ("host", "localhost:8888"),
            ],
            &[("sec-fetch-site", "none"), ("sec-fetch-mode", "navigate")],
        ];
        for headers in ok {
            assert!(may("/v2/x/stream/1", headers, &hosts), "{headers:?}");
        }
        for origin in ["https://evil.example", "null", "https://localhost.evil.example", "http://10.0.0.1"] {
            let headers = [("origin", origin), ("host", "localhost:8888")];
            assert!(!may("/v2/x/run", &headers, &hosts), "{origin}");
        }
        // An image, a link, a form: GET without Origin.
        for site in ["cross-site", "same-site", "odd"] {
            for (mode, target) in [("no-cors", "image"), ("navigate", "document"), ("navigate", "iframe")] {
                let headers =
                    [("sec-fetch-site", site), ("sec-fetch-mode", mode), ("sec-fetch-dest", target)];
                assert!(!may("/v2/x/stream/1", &headers, &hosts), "{headers:?}");
            }
        }
    }

    #[test]
    fn a_link_opens_the_api_pages_and_a_frame_does_not() {
        let from = |target| {
            [("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate"), ("sec-fetch-dest", target)]
        };
        assert!(may("/docs", &from("document"), &AllowedHosts::default()));
        assert!(!may("/docs", &from("iframe"), &AllowedHosts::default()));
        assert!(!may("/openapi.json", &from("document"), &AllowedHosts::default()));
        assert!(may("/_flash/", &from("document"), &AllowedHosts::default()));
        assert!(!may("/_flash/", &from("iframe"), &AllowedHosts::default()));
    }
}
