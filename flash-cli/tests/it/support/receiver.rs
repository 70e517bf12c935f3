//! A receiver of webhooks.
use std::{
    sync::{Arc, Mutex},
    time::Instant,
};

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode},
    routing::post,
};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::Value;
use sha2::Sha256;

/// What came.
#[derive(Debug, Clone)]
pub struct Delivery {
    pub at: Instant,
    pub headers: HeaderMap,
    pub body: String,
}

impl Delivery {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// Whether it is signed with this secret, as Standard Webhooks says.
    pub fn is_signed_with(&self, secret: &str) -> bool {
        let key = BASE64_STANDARD.decode(secret.strip_prefix("whsec_").unwrap()).unwrap();
        let mut mac = Hmac::<Sha256>::new_from_slice(&key).unwrap();
        let signed =
            format!("{}.{}.{}", self.header("webhook-id"), self.header("webhook-timestamp"), self.body);
        mac.update(signed.as_bytes());
        let signature = format!("v1,{}", BASE64_STANDARD.encode(mac.finalize().into_bytes()));
        self.header("webhook-signature") == signature
    }
}

#[derive(Default)]
struct Seen {
    deliveries: Vec<Delivery>,
    refuses: bool,
}

/// See the module.
#[derive(Clone)]
pub struct Receiver {
    pub url: String,
    seen: Arc<Mutex<Seen>>,
}

impl Receiver {
    /// One that answers 500 to all until it is told otherwise.
    pub async fn refusing() -> Self {
        let receiver = Self::start().await;
        receiver.seen.lock().unwrap().refuses = true;
        receiver
    }

    pub async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook?token=hidden", listener.local_addr().unwrap());
        let receiver = Self { url, seen: Arc::default() };
        let router = Router::new().route("/hook", post(receive)).with_state(receiver.clone());
        tokio::spawn(axum::serve(listener, router).into_future());
        receiver
    }

    /// From now on all is well.
    pub fn accept(&self) {
        self.seen.lock().unwrap().refuses = false;
    }

    pub fn deliveries(&self) -> Vec<Delivery> {
        self.seen.lock().unwrap().deliveries.clone()
    }

    /// Waits until this many came.
    pub async fn received(&self, count: usize) -> Vec<Delivery> {
        super::until("deliveries", super::PATIENCE, async || {
            let deliveries = self.deliveries();
            if deliveries.len() >= count { Ok(deliveries) } else { Err(format!("{deliveries:?}")) }
        })
        .await
    }
}

async fn receive(State(receiver): State<Receiver>, headers: HeaderMap, body: Bytes) -> StatusCode {
    let mut seen = receiver.seen.lock().unwrap();
    let body = String::from_utf8(body.to_vec()).unwrap();
    seen.deliveries.push(Delivery { at: Instant::now(), headers, body });
    if seen.refuses { StatusCode::INTERNAL_SERVER_ERROR } else { StatusCode::OK }
}
