//! A token server that Docker's registry trusts: it signs what a user may do.
use std::{
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use axum::{
    Router,
    body::Bytes,
    extract::{RawQuery, State},
    http::{HeaderMap, Method, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use base64::{
    Engine as _,
    prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD},
};
use parking_lot::{Mutex, MutexGuard};
use rcgen::{CertificateParams, KeyPair};
use ring::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair},
};
use serde_json::json;
use tokio::task::JoinHandle;

use super::docker_registry::{PASSWORD, USER};

const SERVICE: &str = "tests";
const ISSUER: &str = "token-server";
/// A token that a helper or a login may have instead of a password.
pub(super) const IDENTITY_TOKEN: &str = "an-identity-token";

/// Stopped when dropped.
pub(super) struct TokenServer {
    /// The registry's settings for it.
    pub settings: String,
    state: Arc<Mutex<Rules>>,
    task: JoinHandle<()>,
    _directory: tempfile::TempDir,
}

/// What it grants, and the requests it received.
#[derive(Default)]
pub(super) struct Rules {
    /// Also to those without credentials.
    pub anonymous: bool,
    /// Reading only.
    pub read_only: bool,
    /// This many of the next tokens are already expired.
    pub stale: usize,
    /// One line for each request: how the user authenticated, and the scopes.
    pub asked: Vec<String>,
    key: Option<Arc<Key>>,
}

struct Key {
    pair: EcdsaKeyPair,
    certificate: String,
}

impl TokenServer {
    pub(super) async fn start() -> Self {
        let pair = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(vec!["tokens.example".to_owned()]).unwrap();
        let certificate = certificate.self_signed(&pair).unwrap();
        let directory = tempfile::TempDir::new().unwrap();
        let bundle = directory.path().join("bundle.pem");
        std::fs::write(&bundle, certificate.pem()).unwrap();
        let signing = &ECDSA_P256_SHA256_FIXED_SIGNING;
        let pair = EcdsaKeyPair::from_pkcs8(signing, &pair.serialize_der(), &SystemRandom::new()).unwrap();
        let key = Key { pair, certificate: BASE64_STANDARD.encode(certificate.der()) };
        let state = Arc::new(Mutex::new(Rules { key: Some(Arc::new(key)), ..Rules::default() }));
        let app = Router::new().fallback(answer).with_state(state.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let realm = format!("http://{}/token", listener.local_addr().unwrap());
        let task = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        let settings = format!(
            "{{ realm: {realm:?}, service: {SERVICE}, issuer: {ISSUER}, rootcertbundle: {:?} }}",
            bundle.display()
        );
        Self { settings, state, task, _directory: directory }
    }

    pub(super) fn rules(&self) -> MutexGuard<'_, Rules> {
        self.state.lock()
    }

    /// From now on nothing answers.
    pub(super) async fn stop(mut self) {
        self.task.abort();
        assert!((&mut self.task).await.unwrap_err().is_cancelled());
    }
}

impl Drop for TokenServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn answer(
    State(state): State<Arc<Mutex<Rules>>>,
    method: Method,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let form = match method {
        Method::POST => String::from_utf8(body.to_vec()).unwrap(),
        _ => query.unwrap_or_default(),
    };
    let form = reqwest::Url::parse(&format!("http://x/?{form}")).unwrap();
    let pairs: Vec<(String, String)> = form.query_pairs().into_owned().collect();
    let all = |name: &str| {
        let own = pairs.iter().filter(|(key, _)| key == name);
        own.flat_map(|(_, value)| value.split(' ').map(str::to_owned)).collect::<Vec<_>>()
    };
    let basic = format!("Basic {}", BASE64_STANDARD.encode(format!("{USER}:{PASSWORD}")));
    let who = match headers.get(header::AUTHORIZATION) {
        _ if all("refresh_token") == [IDENTITY_TOKEN] => "identity token",
        _ if method == Method::POST => "a stranger",
        None => "nobody",
        Some(value) if *value == basic => "password",
        Some(_) => "a stranger",
    };
    let mut rules = state.lock();
    let scopes = all("scope");
    rules.asked.push(format!("{who}: {}", scopes.join(" ")));
    if who == "a stranger" || (who == "nobody" && !rules.anonymous) {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    let token = rules.token(&scopes);
    let member = if method == Method::POST { "access_token" } else { "token" };
    axum::Json(json!({ member: token, "expires_in": 300 })).into_response()
}

impl Rules {
    fn token(&mut self, scopes: &[String]) -> String {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let issued = if self.stale > 0 { now - 86_400 } else { now };
        self.stale = self.stale.saturating_sub(1);
        let access: Vec<_> = scopes
            .iter()
            .filter_map(|scope| {
                let (kind, rest) = scope.split_once(':')?;
                let (name, actions) = rest.rsplit_once(':')?;
                let actions = actions.split(',').filter(|action| !self.read_only || *action == "pull");
                Some(json!({ "type": kind, "name": name, "actions": actions.collect::<Vec<_>>() }))
            })
            .collect();
        let claims = json!({
            "iss": ISSUER, "aud": SERVICE, "sub": USER, "jti": format!("{}", fastrand::u64(..)),
            "iat": issued - 10, "nbf": issued - 10, "exp": issued + 300, "access": access,
        });
        let key = self.key.as_ref().unwrap();
        let header = json!({ "typ": "JWT", "alg": "ES256", "x5c": [key.certificate] });
        let part = |value: serde_json::Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", part(header), part(claims));
        let signature = key.pair.sign(&SystemRandom::new(), signed.as_bytes()).unwrap();
        format!("{signed}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature))
    }
}
