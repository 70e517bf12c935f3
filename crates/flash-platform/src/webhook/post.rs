//! One POST: its content, and the meaning of the answer.
use std::{error::Error, time::Duration};

use flash_protocol::wire::job::JobObject;
use flash_text::error_chain;
use http::StatusCode;
use reqwest::Url;
use serde::Serialize;
use serde_json::value::RawValue;

use super::{
    allowed_networks::{AllowedNetworks, Forbidden},
    secret::Secret,
};
use crate::queue::JobEnded;

/// How long a receiver may take to answer.
const ANSWER: Duration = Duration::from_secs(10);

/// Sends; cheap to clone.
#[derive(Clone)]
pub(super) struct Poster {
    client: reqwest::Client,
    allowed_networks: AllowedNetworks,
    secret: Secret,
}

/// The result of a POST that failed.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// Worth another try.
    ForNow(String),
    /// No further try will do better.
    ForGood(String),
}

/// The status object, with the data from the client.
#[derive(Serialize)]
struct Body<'a> {
    #[serde(flatten)]
    job: &'a JobObject,
    input: &'a RawValue,
    webhook: &'a str,
}

impl Poster {
    /// One that reaches what `allowed_networks` allows.
    ///
    /// # Errors
    /// When the TLS of this process cannot be set up.
    pub(super) fn new(secret: Secret, allowed_networks: AllowedNetworks) -> Result<Self, reqwest::Error> {
        // No redirects: one would bypass the check of addresses.
        let client = flash_http::client().timeout(ANSWER);
        let client = match &allowed_networks {
            AllowedNetworks::All => client,
            // A proxy would resolve names itself and bypass the check of addresses.
            AllowedNetworks::PublicAnd(_) => {
                client.dns_resolver(std::sync::Arc::new(allowed_networks.clone())).no_proxy()
            }
        };
        Ok(Self { client: client.build()?, allowed_networks, secret })
    }

    /// Notifies the receiver of an end.
    ///
    /// # Errors
    /// When it did not take it.
    pub(super) async fn post(&self, ended: &JobEnded) -> Result<(), Refusal> {
        let JobEnded { url, job, input, event, .. } = ended;
        let Ok(target) = Url::parse(url) else {
            return Err(Refusal::ForGood("its URL is not valid".to_owned()));
        };
        self.allowed_networks.check(&target).map_err(|forbidden| Refusal::ForGood(forbidden.to_string()))?;
        // JSON text that was valid when it came in: only a bug could fail here.
        let body = serde_json::to_string(&Body { job, input, webhook: url })
            .map_err(|error| Refusal::ForGood(error.to_string()))?;
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let timestamp = now.map_or(0, |now| now.as_secs());
        let request = self
            .client
            .post(target)
            .header(http::header::CONTENT_TYPE, "application/json")
            .header("webhook-id", event)
            .header("webhook-timestamp", timestamp)
            .header("webhook-signature", self.secret.sign(event, timestamp, &body))
            .body(body);
        match request.send().await {
            Ok(answer) => judge(answer.status()),
            // Without its URL, which may hold a token.
            Err(error) => Err(failed(&error.without_url())),
        }
    }
}

fn judge(status: StatusCode) -> Result<(), Refusal> {
    match status {
        status if status.is_success() => Ok(()),
        // By the specification, the receiver wants no more deliveries.
        StatusCode::GONE => Err(Refusal::ForGood(format!("the receiver answered {status}"))),
        status => Err(Refusal::ForNow(format!("the receiver answered {status}"))),
    }
}

fn failed(error: &reqwest::Error) -> Refusal {
    let mut cause: Option<&dyn Error> = error.source();
    while let Some(error) = cause {
        if let Some(forbidden) = error.downcast_ref::<Forbidden>() {
            return Refusal::ForGood(forbidden.to_string());
        }
        cause = error.source();
    }
    Refusal::ForNow(error_chain(error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_2xx_is_taken_and_only_410_is_final() {
        for (status, taken, is_final) in [
            (200, true, false),
            (204, true, false),
            (301, false, false),
            (404, false, false),
            (410, false, true),
            (500, false, false),
        ] {
            let judged = judge(StatusCode::from_u16(status).unwrap());
            assert_eq!(judged.is_ok(), taken, "{status}");
            assert_eq!(matches!(judged, Err(Refusal::ForGood(_))), is_final, "{status}");
        }
    }

    #[tokio::test]
    async fn a_name_of_a_private_address_is_refused_for_good_with_the_setting_to_change() {
        let poster = Poster::new(Secret::random(), AllowedNetworks::PublicAnd([].into())).unwrap();
        let error = poster.client.post("http://localhost:9/").send().await.unwrap_err();
        let Refusal::ForGood(reason) = failed(&error) else { panic!("{error:?}") };
        assert!(
            reason.contains("`localhost` resolves to") && reason.contains("webhook_networks"),
            "{reason}"
        );
    }
}
