//! Webhooks: one POST at the end of each job that asks for it, signed, and tried again when refused.
//!
//! Owns delivery; which job tells whom is the queue's. The signature is that of the Standard Webhooks
//! specification (<https://www.standardwebhooks.com>), so that a receiver verifies it with a library.
use std::{fmt, sync::Arc, time::Duration};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use flash_sdk::wire::job::JobObject;
use hmac::{Hmac, KeyInit as _, Mac as _};
use reqwest::redirect;
use serde::Serialize;
use serde_json::value::RawValue;
use sha2::Sha256;
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;

use super::{
    log::{LogLine, Sink},
    queue::{Store, Tidings},
};

/// Pauses before each further try, as observed of the provider: three tries at 0, 5 and 20 seconds.
const PAUSES: [Duration; 2] = [Duration::from_secs(5), Duration::from_secs(15)];
/// How long a receiver may take to answer.
const ANSWER: Duration = Duration::from_secs(10);
/// Deliveries under way, pauses included.
const AT_ONCE: usize = 256;
/// Between two looks whether a failing store takes writes again.
const STORE_RETRY: Duration = Duration::from_secs(1);
/// What a secret begins with, by the specification.
const PREFIX: &str = "whsec_";

/// The key that signs webhooks.
#[derive(Clone)]
pub(crate) struct Secret(Arc<[u8]>);

/// What was given is no secret.
#[derive(Debug, thiserror::Error)]
#[error("a webhook secret is `{PREFIX}` and 24 to 64 bytes in base64")]
pub(crate) struct BadSecret;

impl Secret {
    /// A new one.
    pub(crate) fn random() -> Self {
        let (first, second) = (uuid::Uuid::new_v4().into_bytes(), uuid::Uuid::new_v4().into_bytes());
        Self([first, second].concat().into())
    }

    /// From its written form.
    ///
    /// # Errors
    /// For anything else.
    pub(crate) fn parse(text: &str) -> Result<Self, BadSecret> {
        let bytes = text.trim().strip_prefix(PREFIX).and_then(|text| BASE64_STANDARD.decode(text).ok());
        let bytes = bytes.filter(|bytes| (24..=64).contains(&bytes.len())).ok_or(BadSecret)?;
        Ok(Self(bytes.into()))
    }

    /// Its written form, for the file that keeps it.
    pub(crate) fn reveal(&self) -> String {
        format!("{PREFIX}{}", BASE64_STANDARD.encode(&self.0))
    }

    fn sign(&self, id: &str, timestamp: u64, body: &str) -> String {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).expect("HMAC takes keys of any length");
        mac.update(format!("{id}.{timestamp}.{body}").as_bytes());
        format!("v1,{}", BASE64_STANDARD.encode(mac.finalize().into_bytes()))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// The status object, with what the client sent.
#[derive(Serialize)]
struct Body<'a> {
    #[serde(flatten)]
    job: &'a JobObject,
    input: &'a RawValue,
    webhook: &'a str,
}

/// Delivers until the platform closes.
pub(crate) struct Courier {
    pub secret: Secret,
    pub store: Store,
    pub log: Sink,
    pub closing: CancellationToken,
}

impl Courier {
    /// See the type.
    pub(crate) async fn run(self, mut tidings: mpsc::Receiver<Tidings>) {
        // rustls wants to be told which cryptography it uses; who was first does not matter.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder()
            .timeout(ANSWER)
            .redirect(redirect::Policy::none())
            .user_agent(concat!("flash/", env!("CARGO_PKG_VERSION")))
            .build();
        let Ok(client) = client else {
            self.say("webhooks are off: the HTTP client cannot be made".to_owned());
            return;
        };
        let (courier, permits) = (Arc::new(self), Arc::new(Semaphore::new(AT_ONCE)));
        let mut deliveries = tokio::task::JoinSet::new();
        loop {
            let permit = tokio::select! {
                () = courier.closing.cancelled() => break,
                permit = permits.clone().acquire_owned() => permit,
            };
            let next = tokio::select! {
                () = courier.closing.cancelled() => break,
                next = tidings.recv() => next,
            };
            let Some(next) = next else { break };
            while deliveries.try_join_next().is_some() {}
            let (courier, client) = (courier.clone(), client.clone());
            deliveries.spawn(async move {
                courier.deliver(&client, next).await;
                drop(permit);
            });
        }
        // What is under way is told again after the next start.
        deliveries.shutdown().await;
    }

    async fn deliver(&self, client: &reqwest::Client, tidings: Tidings) {
        while tidings.committed(&self.store).await.is_err() {
            tokio::time::sleep(STORE_RETRY).await;
        }
        let Tidings { url, job, input, .. } = &tidings;
        // JSON text that was valid when it came in: only a bug could fail here.
        let Ok(body) = serde_json::to_string(&Body { job, input, webhook: url }) else { return };
        let mut pauses = PAUSES.iter();
        loop {
            let refusal = match self.post(client, url, &job.id, &body).await {
                Ok(()) => break,
                Err(refusal) => refusal,
            };
            let Some(pause) = pauses.next() else {
                self.say(format!(
                    "webhook of job {}: given up after {} tries: {refusal}",
                    job.id,
                    PAUSES.len() + 1
                ));
                break;
            };
            tokio::time::sleep(*pause).await;
        }
        tidings.told(&self.store);
    }

    async fn post(&self, client: &reqwest::Client, url: &str, id: &str, body: &str) -> Result<(), String> {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let timestamp = now.map_or(0, |now| now.as_secs());
        let request = client
            .post(url)
            .header(http::header::CONTENT_TYPE, "application/json")
            .header("webhook-id", id)
            .header("webhook-timestamp", timestamp)
            .header("webhook-signature", self.secret.sign(id, timestamp, body))
            .body(body.to_owned());
        match request.send().await {
            Ok(answer) if answer.status().is_success() => Ok(()),
            Ok(answer) => Err(format!("the receiver answered {}", answer.status())),
            // Without its URL, which may hold a token.
            Err(error) => Err(crate::error_chain::error_chain(&error.without_url())),
        }
    }

    fn say(&self, text: String) {
        (self.log)(LogLine::system("webhook", None, text));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signature_is_that_of_the_specification() {
        // The example of the specification's reference libraries.
        let secret = Secret::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let signature = secret.sign("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, r#"{"test": 2432232314}"#);
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn a_secret_is_read_back_and_never_shown_by_debug() {
        let secret = Secret::random();
        let written = secret.reveal();
        assert_eq!(Secret::parse(&written).unwrap().reveal(), written);
        assert_eq!(format!("{secret:?}"), "Secret(…)");
        for wrong in ["", "whsec_", "whsec_!!", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"] {
            assert!(Secret::parse(wrong).is_err(), "{wrong}");
        }
    }
}
