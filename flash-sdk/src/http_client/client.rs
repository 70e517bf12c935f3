//! Clients with the key and the settings of this crate.
use std::sync::OnceLock;

use super::url::is_local;

/// HTTP clients, created at first use: loading TLS roots takes milliseconds, which a cold start cannot spare.
pub(crate) struct HttpClient {
    inner: OnceLock<reqwest::Client>,
    /// For URLs of this machine, without a proxy.
    local: OnceLock<reqwest::Client>,
    key: Option<String>,
}

impl HttpClient {
    /// Creates clients that send this key.
    pub(crate) fn new(key: Option<String>) -> Self {
        Self { inner: OnceLock::new(), local: OnceLock::new(), key }
    }

    /// The key that is sent.
    pub(crate) fn key(&self) -> Option<&str> {
        self.key.as_deref()
    }

    fn http(&self, url: &str) -> &reqwest::Client {
        match is_local(url) {
            true => self.local.get_or_init(|| with_defaults(flash_http::client().no_proxy())),
            false => self.inner.get_or_init(http_client),
        }
    }

    /// A request with the key.
    pub(crate) fn request(&self, method: reqwest::Method, url: String) -> reqwest::RequestBuilder {
        let request = self.http(&url).request(method, url);
        match &self.key {
            Some(key) => request.bearer_auth(key),
            None => request,
        }
    }
}

/// An HTTP client with the settings of this crate.
pub(crate) fn http_client() -> reqwest::Client {
    with_defaults(flash_http::client())
}

fn with_defaults(builder: reqwest::ClientBuilder) -> reqwest::Client {
    builder
        .user_agent(concat!("flash-sdk/", env!("CARGO_PKG_VERSION")))
        .build()
        .expect("a client with these fixed settings can be built")
}
