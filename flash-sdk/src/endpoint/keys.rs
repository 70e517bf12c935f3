//! Which key is sent to which endpoint.
use flash_protocol::variables;

/// The keys from environment variables, and what decides where they may be sent.
pub(super) struct Keys {
    flash: Option<String>,
    runpod: Option<String>,
    /// The URLs of the app's other worker types.
    endpoints: Option<String>,
    /// Whether this process is a worker on the Flash platform. Then `RUNPOD_API_KEY` is its credential for that
    /// platform.
    is_on_flash: bool,
}

impl Keys {
    pub(super) fn from_env() -> Self {
        Self {
            flash: variables::get(variables::API_KEY),
            runpod: variables::get(variables::RUNPOD_API_KEY),
            endpoints: variables::get(variables::ENDPOINTS),
            is_on_flash: variables::get(variables::EXCHANGE_URL).is_some(),
        }
    }

    /// The key for this URL. A key is only sent to the platform that it is for.
    pub(super) fn for_url(self, url: &str) -> Option<String> {
        let Self { flash, runpod, endpoints, is_on_flash } = self;
        let uri: http::Uri = url.parse().ok()?;
        let is_runpod = uri.host().is_some_and(|host| host == "runpod.ai" || host.ends_with(".runpod.ai"));
        if is_runpod {
            return runpod.filter(|_| !is_on_flash).or(flash);
        }
        let origin = format!("{}://{}/", uri.scheme_str()?, uri.authority()?);
        let is_peer = endpoints.is_some_and(|map| map.contains(&origin));
        flash.or(runpod.filter(|_| is_peer))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_goes_to_nobody_whom_it_is_not_for() {
        let key = |url: &str, flash: Option<&str>, is_on_flash: bool| {
            let own = |text: &str| Some(text.to_owned());
            let endpoints = own(r#"{"pre":"http://127.0.0.1:8900/v2/pre"}"#);
            Keys { flash: flash.map(str::to_owned), runpod: own("rp"), endpoints, is_on_flash }.for_url(url)
        };
        let runpod = "https://api.runpod.ai/v2/abc";
        assert_eq!(key(runpod, Some("fl"), false).as_deref(), Some("rp"));
        assert_eq!(key(runpod, None, true), None, "a worker's credential stays on its platform");
        assert_eq!(key("http://127.0.0.1:8900/v2/other", None, true).as_deref(), Some("rp"));
        assert_eq!(key("http://127.0.0.1:89001/v2/other", None, true), None);
        assert_eq!(key("https://elsewhere.example/v2/x", None, false), None);
        assert_eq!(key("https://evil-runpod.ai/v2/x", None, false), None);
        assert_eq!(key("https://elsewhere.example/v2/x", Some("fl"), false).as_deref(), Some("fl"));
    }
}
