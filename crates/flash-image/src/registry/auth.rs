//! The `Authorization` of a request: nothing, a password, or a token for its scope.
//!
//! A registry says what it requires when it answers a request with 401. A token is for a set of scopes; it is
//! cached until shortly before its end, and renewed when the registry rejects it.
use std::{
    collections::HashMap,
    fmt,
    time::{Duration, Instant},
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use http_auth::parser::ChallengeParser;
use reqwest::{RequestBuilder, Url};
use serde::Deserialize;
use tokio::sync::{Mutex, OnceCell};

use super::{
    address::Address,
    error::RegistryError,
    login::{Found, Login},
    logins::Logins,
    secret::Secret,
    transport::{self, Redirects, Refusal},
};

/// How long a token server may take.
const ANSWER: Duration = Duration::from_secs(30);
/// The largest answer of a token server.
const ANSWER_BYTES: usize = 1 << 20;
/// The lifetime of a token without one, by the specification.
const LIFE: u64 = 60;
/// The longest lifetime that is trusted.
const LONGEST_LIFE: Duration = Duration::from_secs(24 * 60 * 60);
/// A token is not used in the last moments of its life.
const MARGIN: Duration = Duration::from_secs(5);

/// The permissions of a request.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Scope(Vec<String>);

impl Scope {
    /// Read a repository.
    pub(super) fn pull(repository: &str) -> Self {
        Self(vec![format!("repository:{repository}:pull")])
    }

    /// Read and write it.
    pub(super) fn push(repository: &str) -> Self {
        Self(vec![format!("repository:{repository}:pull,push")])
    }

    /// Also read another one.
    pub(super) fn and_pull(mut self, repository: &str) -> Self {
        self.0.extend(Self::pull(repository).0);
        self
    }

    /// The repository that a rejection is about.
    pub(super) fn repository(&self) -> &str {
        let first = self.0.first().and_then(|scope| scope.split(':').nth(1));
        first.unwrap_or_default()
    }
}

/// What a registry requires.
#[derive(Debug, Clone)]
enum Challenge {
    Password,
    /// A token from a token server.
    Token {
        realm: Url,
        service: Option<String>,
    },
}

#[derive(Debug, Clone)]
struct Token {
    value: HeaderValue,
    until: Instant,
}

/// The credentials for one registry, and the tokens obtained with them.
pub(super) struct Authorizer {
    address: Address,
    /// The client for token servers: made for the first token, since many registries need none.
    client: OnceCell<reqwest::Client>,
    logins: Logins,
    /// Held while a token is fetched, so that others that need the same one wait for it.
    state: Mutex<State>,
}

impl fmt::Debug for Authorizer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authorizer").field("address", &self.address).finish_non_exhaustive()
    }
}

#[derive(Default)]
struct State {
    challenge: Option<Challenge>,
    /// By repository, since some are only for a part of a registry. Looked up at most once each.
    logins: HashMap<String, Option<Found>>,
    tokens: HashMap<Scope, Token>,
}

impl Authorizer {
    pub(super) fn new(address: Address, logins: Logins) -> Self {
        Self { address, client: OnceCell::new(), logins, state: Mutex::default() }
    }

    /// The authorization of a request with this scope, as far as it is known.
    ///
    /// # Errors
    /// When required credentials are missing or rejected.
    pub(super) async fn value(&self, scope: &Scope) -> Result<Option<HeaderValue>, RegistryError> {
        let mut state = self.state.lock().await;
        let Some(challenge) = state.challenge.clone() else { return Ok(None) };
        if let Some(token) = state.tokens.get(scope)
            && token.until > Instant::now()
        {
            return Ok(Some(token.value.clone()));
        }
        let repository = scope.repository();
        let login = match state.logins.get(repository) {
            Some(login) => login.clone(),
            None => {
                let login = self.logins.find(self.address.name(), repository).await?;
                state.logins.insert(repository.to_owned(), login.clone());
                login
            }
        };
        match (challenge, login) {
            (Challenge::Password, Some(Found { login: Login::Password { user, password }, .. })) => {
                Ok(Some(basic(&user, &password)))
            }
            (Challenge::Password, _) => Err(self.no_credentials()),
            (Challenge::Token { realm, service }, login) => {
                let token = self.fetch(&realm, service.as_deref(), scope, login.as_ref()).await;
                let token = token.map_err(|error| self.of_token_server(&realm, error))?;
                let value = token.value.clone();
                state.tokens.insert(scope.clone(), token);
                Ok(Some(value))
            }
        }
    }

    /// Learns from a 401 to a request that carried `sent`. The next [`Authorizer::value`] differs.
    ///
    /// # Errors
    /// When the answer does not say what the registry requires.
    pub(super) async fn learn(&self, answer: &HeaderMap, scope: &Scope) -> Result<(), RegistryError> {
        let mut challenges = answer.get_all(header::WWW_AUTHENTICATE).iter();
        let challenge = challenges.find_map(|value| challenge_of(value.to_str().ok()?));
        let Some(challenge) = challenge else {
            let what = "it rejects a request without saying which credentials it requires".to_owned();
            return Err(RegistryError::Protocol { registry: self.address.name().to_owned(), what });
        };
        let mut state = self.state.lock().await;
        state.challenge = Some(challenge);
        state.tokens.remove(scope);
        Ok(())
    }

    /// Why a request was rejected although it had the best available authorization.
    pub(super) async fn refused(&self, scope: &Scope) -> RegistryError {
        let state = self.state.lock().await;
        let registry = self.address.name().to_owned();
        match (&state.challenge, state.logins.get(scope.repository())) {
            (_, None | Some(None)) => self.no_credentials(),
            (Some(Challenge::Token { .. }), Some(Some(_))) => {
                let repository = scope.repository().to_owned();
                RegistryError::Denied { registry, repository, reason: None }
            }
            (_, Some(Some(found))) => RegistryError::WrongPassword { registry, origin: found.origin.clone() },
        }
    }

    /// Names the server, if that is not obvious.
    fn of_token_server(&self, realm: &Url, error: RegistryError) -> RegistryError {
        let is_about_credentials = matches!(
            error,
            RegistryError::NoCredentials { .. }
                | RegistryError::WrongPassword { .. }
                | RegistryError::Denied { .. }
        );
        if is_about_credentials {
            return error;
        }
        let server = host_of(realm);
        RegistryError::TokenServer {
            registry: self.address.name().to_owned(),
            server,
            source: Box::new(error),
        }
    }

    fn no_credentials(&self) -> RegistryError {
        RegistryError::NoCredentials { registry: self.address.name().to_owned() }
    }

    async fn fetch(
        &self,
        realm: &Url,
        service: Option<&str>,
        scope: &Scope,
        login: Option<&Found>,
    ) -> Result<Token, RegistryError> {
        let server = host_of(realm);
        let unclear =
            |what: &str| RegistryError::Protocol { registry: server.clone(), what: what.to_owned() };
        if !self.address.may_name(realm) {
            return Err(unclear("it requires credentials without HTTPS"));
        }
        let client = async || transport::client(&self.address, Redirects::SameOrigin);
        let client = self.client.get_or_try_init(client).await?;
        let request = match login.map(|found| &found.login) {
            Some(Login::IdentityToken(token)) => exchange(client, realm, service, scope, token),
            Some(Login::Password { user, password }) => question(client, realm, service, scope, Some(user))
                .header(header::AUTHORIZATION, basic(user, password)),
            None => question(client, realm, service, scope, None),
        };
        let asked = Instant::now();
        let answer = request.timeout(ANSWER).send().await;
        let answer = answer.map_err(|error| transport::failure(&server, error))?;
        let (status, retry_after) = (answer.status(), transport::retry_after(answer.headers()));
        if !status.is_success() {
            let refusal = Refusal::read(answer, &server).await;
            return Err(self.no_token(&server, status, retry_after, refusal, scope, login));
        }
        let body = transport::body(answer, &server, ANSWER_BYTES).await?;
        let granted: Granted = serde_json::from_slice(&body).map_err(|_| unclear("it returned no token"))?;
        let token = granted.token.or(granted.access_token).filter(|token| !token.is_empty());
        let token = token.ok_or_else(|| unclear("it returned no token"))?;
        let value = bearer(&token).ok_or_else(|| unclear("it returned an invalid token"))?;
        Ok(Token { value, until: asked + usable(granted.expires_in) })
    }

    fn no_token(
        &self,
        server: &str,
        status: StatusCode,
        retry_after: Option<Duration>,
        refusal: Refusal,
        scope: &Scope,
        login: Option<&Found>,
    ) -> RegistryError {
        let Refusal { code, reason } = refusal;
        let (registry, server, task) = (self.address.name().to_owned(), server.to_owned(), "issue a token");
        match (status, login) {
            (StatusCode::TOO_MANY_REQUESTS, _) => {
                RegistryError::TooManyRequests { registry: server, retry_after }
            }
            (status, _) if transport::is_passing(status) => RegistryError::Failing {
                registry: server,
                task,
                status: status.as_u16(),
                reason,
                retry_after,
            },
            (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN, None) => self.no_credentials(),
            (StatusCode::FORBIDDEN, _) => {
                RegistryError::Denied { registry, repository: scope.repository().to_owned(), reason }
            }
            // An expired refresh token is rejected with 400.
            (StatusCode::UNAUTHORIZED | StatusCode::BAD_REQUEST, Some(found)) => {
                RegistryError::WrongPassword { registry, origin: found.origin.clone() }
            }
            _ => RegistryError::Refused { registry: server, task, status: status.as_u16(), code, reason },
        }
    }
}

/// The token request that every token server supports.
fn question(
    client: &reqwest::Client,
    realm: &Url,
    service: Option<&str>,
    scope: &Scope,
    account: Option<&str>,
) -> RequestBuilder {
    let mut url = realm.clone();
    url.query_pairs_mut()
        .extend_pairs(service.map(|service| ("service", service)))
        .extend_pairs(scope.0.iter().map(|scope| ("scope", scope)))
        .extend_pairs(account.map(|account| ("account", account)));
    client.get(url)
}

/// The request to exchange a token, by OAuth 2.
fn exchange(
    client: &reqwest::Client,
    realm: &Url,
    service: Option<&str>,
    scope: &Scope,
    token: &Secret,
) -> RequestBuilder {
    let mut form = realm.clone();
    form.set_query(None);
    form.query_pairs_mut()
        .extend_pairs([("grant_type", "refresh_token"), ("client_id", "flash")])
        .extend_pairs(service.map(|service| ("service", service)))
        .append_pair("scope", &scope.0.join(" "))
        .append_pair("refresh_token", token.reveal());
    let request = client.post(realm.clone());
    let request = request.header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
    request.body(form.query().unwrap_or_default().to_owned())
}

/// How long to use a token with this lifetime.
fn usable(seconds: Option<u64>) -> Duration {
    let life = Duration::from_secs(seconds.unwrap_or(LIFE)).min(LONGEST_LIFE);
    life.saturating_sub(MARGIN.min(life / 2))
}

fn host_of(realm: &Url) -> String {
    let host = realm.host_str().unwrap_or_default();
    realm.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

/// A token server's answer. Has no `Debug`, because it holds a token.
#[derive(Deserialize)]
struct Granted {
    token: Option<String>,
    access_token: Option<String>,
    expires_in: Option<u64>,
}

/// The first challenge in a header that we support.
fn challenge_of(header: &str) -> Option<Challenge> {
    let challenges = ChallengeParser::new(header).map_while(Result::ok);
    challenges.into_iter().find_map(|challenge| {
        let parameter = |name: &str| {
            let mut parameters = challenge.params.iter();
            let (_, value) = parameters.find(|(key, _)| key.eq_ignore_ascii_case(name))?;
            Some(value.to_unescaped())
        };
        if challenge.scheme.eq_ignore_ascii_case("bearer") {
            let realm = Url::parse(&parameter("realm")?).ok()?;
            return Some(Challenge::Token { realm, service: parameter("service") });
        }
        challenge.scheme.eq_ignore_ascii_case("basic").then_some(Challenge::Password)
    })
}

fn basic(user: &str, password: &Secret) -> HeaderValue {
    let pair = BASE64_STANDARD.encode(format!("{user}:{}", password.reveal()));
    let mut value = HeaderValue::try_from(format!("Basic {pair}")).expect("base64 is ASCII");
    value.set_sensitive(true);
    value
}

fn bearer(token: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::try_from(format!("Bearer {token}")).ok()?;
    value.set_sensitive(true);
    Some(value)
}

#[cfg(any(test, fuzzing))]
flash_test_support::fuzz_target!("registry_challenge", |data| {
    let Ok(header) = std::str::from_utf8(data) else { return };
    if let Some(Challenge::Token { realm, .. }) = challenge_of(header) {
        let _ = host_of(&realm);
    }
});

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::reference;

    #[test]
    fn a_challenge_is_read_as_registries_write_it() {
        let docker_hub = r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:a/b:pull,push",error="invalid_token""#;
        let Some(Challenge::Token { realm, service }) = challenge_of(docker_hub) else { panic!() };
        assert_eq!(realm.as_str(), "https://auth.docker.io/token");
        assert_eq!(service.unwrap(), "registry.docker.io");
        assert!(matches!(challenge_of(r#"Basic realm="x""#), Some(Challenge::Password)));
        assert!(matches!(challenge_of(r#"Digest nonce="x", BASIC realm="y""#), Some(Challenge::Password)));
        assert!(challenge_of("Negotiate").is_none());
        assert!(challenge_of("Bearer realm=\"not an address\"").is_none());
    }

    #[test]
    fn a_token_is_used_until_shortly_before_its_end_and_a_day_at_most() {
        assert_eq!(usable(Some(300)), Duration::from_secs(295));
        assert_eq!(usable(None), Duration::from_secs(55));
        assert_eq!(usable(Some(4)), Duration::from_secs(2));
        assert_eq!(usable(Some(u64::MAX)), LONGEST_LIFE - MARGIN);
        let _ = Instant::now() + usable(Some(u64::MAX));
    }

    #[tokio::test]
    async fn each_repository_is_asked_for_with_its_own_login() {
        let directory = tempfile::TempDir::new().unwrap();
        let path = directory.path().join("auth.json");
        let auths = serde_json::json!({ "auths": {
            "registry.example/one": { "username": "me", "password": "first" },
            "registry.example/two": { "username": "me", "password": "second" },
        }});
        std::fs::write(&path, auths.to_string()).unwrap();
        let address = Address::of(&reference("registry.example/one/app:1").unwrap()).unwrap();
        let authorizer = Authorizer::new(address, Logins::in_files(&[&path]));
        let answer = HeaderMap::from_iter([(header::WWW_AUTHENTICATE, "Basic realm=x".parse().unwrap())]);
        authorizer.learn(&answer, &Scope::push("one/app")).await.unwrap();
        for (repository, password) in [("one/app", "first"), ("two/app", "second"), ("one/web", "first")] {
            let value = authorizer.value(&Scope::push(repository)).await.unwrap().unwrap();
            assert_eq!(value, basic("me", &password.into()));
        }
        let error = authorizer.value(&Scope::pull("three")).await.unwrap_err();
        assert!(matches!(error, RegistryError::NoCredentials { .. }), "{error:?}");
    }

    #[test]
    fn neither_a_password_nor_a_token_is_shown() {
        let password = Secret::from("hunter2");
        let shown = format!("{:?} {:?} {:?}", basic("me", &password), bearer("hunter2"), password);
        assert!(!shown.contains("hunter2") && !shown.contains("aHVudGVy"), "{shown}");
        assert_eq!(Scope::push("a/b").repository(), "a/b");
    }
}
