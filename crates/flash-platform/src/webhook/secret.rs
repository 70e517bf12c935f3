//! The signing key of webhooks, in the format of the Standard Webhooks specification.
use std::{fmt, sync::Arc};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

/// The prefix of a secret, by the specification.
const PREFIX: &str = "whsec_";

/// The key that signs webhooks.
#[derive(Clone)]
pub struct Secret(Arc<[u8]>);

/// The text is not a valid secret.
#[derive(Debug, thiserror::Error)]
#[error("a webhook secret must be `{PREFIX}` followed by 24 to 64 bytes in base64")]
pub struct BadSecret;

impl Secret {
    /// A new one.
    pub fn random() -> Self {
        let (first, second) = (uuid::Uuid::new_v4().into_bytes(), uuid::Uuid::new_v4().into_bytes());
        Self([first, second].concat().into())
    }

    /// From its written form.
    ///
    /// # Errors
    /// For anything else.
    pub fn parse(text: &str) -> Result<Self, BadSecret> {
        let bytes = text.trim().strip_prefix(PREFIX).and_then(|text| BASE64_STANDARD.decode(text).ok());
        let bytes = bytes.filter(|bytes| (24..=64).contains(&bytes.len())).ok_or(BadSecret)?;
        Ok(Self(bytes.into()))
    }

    /// Its written form, for the file that keeps it.
    pub fn reveal(&self) -> String {
        format!("{PREFIX}{}", BASE64_STANDARD.encode(&self.0))
    }

    /// The value of `webhook-signature` for a message. `timestamp` is in seconds since 1970.
    pub(super) fn sign(&self, id: &str, timestamp: u64, body: &str) -> String {
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
    fn the_official_library_verifies_a_signature() {
        let secret = Secret::random();
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
        let (id, body) = ("msg_1", r#"{"status":"COMPLETED"}"#);
        let mut headers = http::HeaderMap::new();
        headers.insert("webhook-id", id.parse().unwrap());
        headers.insert("webhook-timestamp", now.into());
        headers.insert("webhook-signature", secret.sign(id, now, body).parse().unwrap());
        let official = standardwebhooks::Webhook::new(&secret.reveal()).unwrap();
        official.verify(body.as_bytes(), &headers).unwrap();
        assert!(official.verify(b"{}", &headers).is_err());
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
