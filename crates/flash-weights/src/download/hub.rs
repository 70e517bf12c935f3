//! The Hub: where it is, who asks, and requests to it.
use std::{
    fmt,
    path::PathBuf,
    sync::{Arc, OnceLock},
    time::Duration,
};

use flash_protocol::HubModel;
use reqwest::{
    Client, Method, Response, StatusCode, Url,
    header::{AUTHORIZATION, HeaderValue, LOCATION, RANGE, RETRY_AFTER},
};

use super::{error::DownloadError, retry::RetryPolicy};

/// The Hub, unless `HF_ENDPOINT` names another.
const DEFAULT_ENDPOINT: &str = "https://huggingface.co";
/// How long a connection may be silent.
const SILENCE_LIMIT: Duration = Duration::from_secs(60);
/// How many redirects are followed.
const MAX_REDIRECTS: u32 = 8;

/// A token of the user's account. It never shows in logs and errors.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl Token {
    /// A token; `None` if the text is empty.
    pub fn new(text: &str) -> Option<Self> {
        let text = text.trim();
        (!text.is_empty()).then(|| Self(text.to_owned()))
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

/// How the Hub is reached.
#[derive(Debug, Clone)]
pub struct HubSettings {
    /// Its address.
    pub endpoint: String,
    /// Who asks; `None` for anybody.
    pub token: Option<Token>,
    /// Whether the network may not be used.
    pub offline: bool,
    /// How often a failing request is tried.
    pub retry: RetryPolicy,
}

impl HubSettings {
    /// From `HF_ENDPOINT`, `HF_TOKEN` (else the token that `hf auth login` stored) and `HF_HUB_OFFLINE`.
    pub fn from_env() -> Self {
        Self::from_variables(|name| std::env::var(name).ok().filter(|value| !value.is_empty()))
    }

    /// As [`from_env`](Self::from_env), with the variables from elsewhere.
    pub fn from_variables(get: impl Fn(&str) -> Option<String>) -> Self {
        let is_set = |name| {
            get(name).is_some_and(|value| {
                ["1", "on", "yes", "true"].iter().any(|yes| value.eq_ignore_ascii_case(yes))
            })
        };
        let stored = || {
            let home = || get("HF_HOME").map(PathBuf::from);
            let default = || Some(PathBuf::from(get("HOME")?).join(".cache/huggingface"));
            let path = get("HF_TOKEN_PATH").map(PathBuf::from);
            let path = path.or_else(|| Some(home().or_else(default)?.join("token")))?;
            std::fs::read_to_string(path).ok()
        };
        Self {
            endpoint: get("HF_ENDPOINT").unwrap_or_else(|| DEFAULT_ENDPOINT.to_owned()),
            token: get("HF_TOKEN").or_else(stored).as_deref().and_then(Token::new),
            offline: is_set("HF_HUB_OFFLINE") || is_set("TRANSFORMERS_OFFLINE"),
            retry: RetryPolicy::default(),
        }
    }
}

/// The Hub, ready for requests.
#[derive(Debug, Clone)]
pub struct Hub {
    /// Made for the first request: reading the machine's certificates takes longer than to see that nothing is missing.
    client: Arc<OnceLock<Client>>,
    endpoint: Url,
    authorization: Option<HeaderValue>,
    pub(super) offline: bool,
    pub(super) retry: RetryPolicy,
}

impl Hub {
    /// Nothing is sent.
    ///
    /// # Errors
    /// If the endpoint is not an address, or the token contains a character that tokens cannot contain.
    pub fn new(settings: HubSettings) -> Result<Self, DownloadError> {
        let HubSettings { endpoint, token, offline, retry } = settings;
        let setting = |name, problem: &str| DownloadError::Setting { name, problem: problem.to_owned() };
        let address = Url::parse(&format!("{}/", endpoint.trim_end_matches('/')))
            .ok()
            .filter(|url| matches!(url.scheme(), "http" | "https") && url.host().is_some())
            // They would show in messages. The token has a variable of its own.
            .filter(|url| url.username().is_empty() && url.password().is_none());
        let endpoint = address.ok_or_else(|| {
            setting(
                "HF_ENDPOINT",
                "expected an address such as https://huggingface.co, without a name and a password",
            )
        })?;
        let authorization = token.map(|Token(token)| {
            let mut value = HeaderValue::from_str(&format!("Bearer {token}"))
                .map_err(|_| setting("HF_TOKEN", "it contains a character that tokens cannot contain"))?;
            value.set_sensitive(true);
            Ok::<_, DownloadError>(value)
        });
        Ok(Self {
            client: Arc::default(),
            endpoint,
            authorization: authorization.transpose()?,
            offline,
            retry,
        })
    }

    fn client(&self) -> Result<&Client, DownloadError> {
        if let Some(client) = self.client.get() {
            return Ok(client);
        }
        let client = flash_http::client()
            .read_timeout(SILENCE_LIMIT)
            .build()
            .map_err(|source| DownloadError::Transport { endpoint: self.endpoint.to_string(), source })?;
        // Of two that are made at once, the first stays.
        Ok(self.client.get_or_init(|| client))
    }

    /// For messages.
    pub(super) fn name(&self) -> String {
        self.endpoint.as_str().trim_end_matches('/').to_owned()
    }

    /// The model's page.
    pub(super) fn page(&self, model: &HubModel) -> String {
        format!("{}/{}", self.name(), model.repo)
    }

    /// An address below the endpoint. Parts are escaped, so that each stays one part.
    pub(super) fn address<'a>(&self, parts: impl IntoIterator<Item = &'a str>) -> Url {
        let mut url = self.endpoint.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(parts);
        }
        url
    }

    /// Gets a body, from a byte on if `from` says so. Follows redirects by itself: the token goes to the Hub, and to no
    /// other host that it redirects to.
    ///
    /// # Errors
    /// When there is no answer, or one that is neither a success nor a redirect that can be followed.
    pub(super) async fn get(
        &self,
        url: Url,
        from: Option<u64>,
        model: &HubModel,
    ) -> Result<Response, DownloadError> {
        self.follow(Method::GET, url, from, model, |_| false).await
    }

    /// Asks about a file. The answer that knows its hash is the Hub's own, which may be a redirect to a storage.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub(super) async fn head(&self, url: Url, model: &HubModel) -> Result<Response, DownloadError> {
        self.follow(Method::HEAD, url, None, model, |response| {
            response.headers().contains_key("x-linked-etag")
        })
        .await
    }

    async fn follow(
        &self,
        method: Method,
        mut url: Url,
        from: Option<u64>,
        model: &HubModel,
        is_enough: impl Fn(&Response) -> bool,
    ) -> Result<Response, DownloadError> {
        for _ in 0..=MAX_REDIRECTS {
            let mut request = self.client()?.request(method.clone(), url.clone());
            if let Some(value) = self.authorization.as_ref().filter(|_| self.is_own(&url)) {
                request = request.header(AUTHORIZATION, value.clone());
            }
            if let Some(from) = from {
                request = request.header(RANGE, format!("bytes={from}-"));
            }
            let host = url.host_str().unwrap_or_default().to_owned();
            let response = request.send().await.map_err(|error| DownloadError::Transport {
                endpoint: host.clone(),
                // The address of a storage has a signature in it.
                source: error.without_url(),
            })?;
            let status = response.status();
            if status.is_success() || (status.is_redirection() && is_enough(&response)) {
                return Ok(response);
            }
            if !status.is_redirection() {
                return Err(self.refusal(&response, &host, model));
            }
            url = self.next(&url, &response)?;
        }
        Err(self.protocol("it redirects without end"))
    }

    pub(super) fn protocol(&self, problem: &str) -> DownloadError {
        DownloadError::Protocol { endpoint: self.name(), problem: problem.to_owned() }
    }

    fn is_own(&self, url: &Url) -> bool {
        url.origin() == self.endpoint.origin()
    }

    /// Where a redirect leads.
    fn next(&self, url: &Url, response: &Response) -> Result<Url, DownloadError> {
        let location = response.headers().get(LOCATION).and_then(|location| location.to_str().ok());
        let next = location.and_then(|location| url.join(location).ok());
        match next {
            Some(next) if next.scheme() == "https" || (next.scheme() == "http" && url.scheme() == "http") => {
                Ok(next)
            }
            Some(_) => Err(self.protocol("it redirects to an address without encryption")),
            None => Err(self.protocol("it redirects to no address")),
        }
    }

    fn refusal(&self, response: &Response, host: &str, model: &HubModel) -> DownloadError {
        let (status, headers) = (response.status(), response.headers());
        let code = headers.get("x-error-code").and_then(|code| code.to_str().ok()).unwrap_or_default();
        let has_token = self.authorization.is_some();
        let is_hub = response.url().origin() == self.endpoint.origin();
        match (status, code) {
            (_, "GatedRepo") => {
                DownloadError::Gated { model: model.repo.clone(), page: self.page(model), has_token }
            }
            (_, "RevisionNotFound") => DownloadError::NoRevision {
                repo: model.repo.clone(),
                revision: model.revision.clone(),
                page: format!("{}/tree/main", self.page(model)),
            },
            (StatusCode::FORBIDDEN, _) if is_hub => {
                DownloadError::Gated { model: model.repo.clone(), page: self.page(model), has_token }
            }
            (StatusCode::UNAUTHORIZED | StatusCode::NOT_FOUND, _) if is_hub => {
                DownloadError::NoModel { model: model.repo.clone(), endpoint: self.name(), has_token }
            }
            _ => DownloadError::Status {
                endpoint: host.to_owned(),
                status: status.as_u16(),
                retry_after: headers.get(RETRY_AFTER).and_then(|value| retry_after(value.to_str().ok()?)),
            },
        }
    }
}

/// Seconds, or a date.
fn retry_after(text: &str) -> Option<Duration> {
    match text.trim().parse() {
        Ok(seconds) => Some(Duration::from_secs(seconds)),
        Err(_) => httpdate::parse_http_date(text).ok()?.duration_since(std::time::SystemTime::now()).ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(set: &[(&str, &str)]) -> HubSettings {
        HubSettings::from_variables(|name| {
            set.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn variables_are_those_of_the_hubs_own_client_and_no_token_shows() {
        let usual = settings(&[]);
        assert_eq!((usual.endpoint.as_str(), usual.token, usual.offline), (DEFAULT_ENDPOINT, None, false));
        let set =
            settings(&[("HF_ENDPOINT", "http://h:1"), ("HF_TOKEN", "hf_secret"), ("HF_HUB_OFFLINE", "1")]);
        assert!(set.offline && set.token == Token::new("hf_secret"));
        let hub = Hub::new(set.clone()).unwrap();
        assert!(!format!("{set:?} {hub:?}").contains("secret"));
        let directory = tempfile::TempDir::new().unwrap();
        std::fs::write(directory.path().join("token"), "hf_stored\n").unwrap();
        let home = directory.path().to_str().unwrap();
        assert_eq!(settings(&[("HF_HOME", home)]).token, Token::new("hf_stored"));
    }

    #[test]
    fn an_endpoint_that_is_no_address_and_a_token_that_is_none_are_refused_by_name() {
        for (name, value) in
            [("HF_ENDPOINT", "huggingface.co"), ("HF_ENDPOINT", "file:///x"), ("HF_TOKEN", "a\nb")]
        {
            let error = Hub::new(settings(&[(name, value)])).unwrap_err().to_string();
            assert!(error.contains(name) && !error.contains("a\nb"), "{error}");
        }
    }

    #[test]
    fn a_revision_with_a_slash_stays_one_part_of_the_address() {
        let hub = Hub::new(settings(&[("HF_ENDPOINT", "https://h/mirror/")])).unwrap();
        let url = hub.address(["org", "name", "resolve", "refs/pr/1", "a b", "c?.bin"]);
        assert_eq!(url.as_str(), "https://h/mirror/org/name/resolve/refs%2Fpr%2F1/a%20b/c%3F.bin");
    }
}
