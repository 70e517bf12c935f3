//! A connection to one registry: its address, its credentials, and which blobs it is known to have.
use std::{
    collections::{BTreeSet, HashMap},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use http::{StatusCode, header};
use oci_spec::{distribution::Reference, image::Digest};
use parking_lot::Mutex;
use reqwest::{RequestBuilder, Response, Url};
use tokio::time::Instant;

use super::{
    address::Address,
    auth::{Authorizer, Scope},
    error::RegistryError,
    logins::Logins,
    retry::{Attempts, RetryPolicy},
    transport::{self, Redirects, Refusal},
};

/// How long a registry may take for a request without a large body.
const ANSWER: Duration = Duration::from_secs(60);
/// How often within that time progress is checked.
const LOOKS: u32 = 50;

/// A registry. Transfers through the same value share knowledge: a blob that one repository received is mounted
/// into the next one, and a token is fetched once.
#[derive(Debug)]
pub struct Registry {
    pub(super) address: Address,
    pub(super) client: reqwest::Client,
    pub(super) retry_policy: RetryPolicy,
    authorizer: Authorizer,
    /// Whether it has ever answered.
    answered: AtomicBool,
    /// Which repositories are known to have a blob.
    holders: Mutex<HashMap<Digest, BTreeSet<String>>>,
}

impl Registry {
    /// The registry of this image. Sends nothing yet.
    ///
    /// # Errors
    /// When its name is not a valid address.
    pub fn of(image: &Reference, logins: Logins, policy: RetryPolicy) -> Result<Self, RegistryError> {
        Self::at(Address::of(image)?, logins, policy)
    }

    pub(super) fn at(address: Address, logins: Logins, policy: RetryPolicy) -> Result<Self, RegistryError> {
        let client = transport::client(&address, Redirects::Anywhere)?;
        let authorizer = Authorizer::new(address.clone(), logins);
        let (answered, holders) = (AtomicBool::new(false), Mutex::default());
        Ok(Self { address, client, retry_policy: policy, authorizer, answered, holders })
    }

    /// Trusts only this certificate authority.
    #[cfg(test)]
    pub(super) fn trusting(mut self, authority: &str) -> Self {
        let authority = reqwest::Certificate::from_pem(authority.as_bytes()).unwrap();
        self.client = reqwest::Client::builder().tls_certs_only([authority]).no_proxy().build().unwrap();
        self
    }

    /// As in image names.
    pub(super) fn name(&self) -> &str {
        self.address.name()
    }

    /// Sends a request, and retries after temporary failures. The caller handles the registry's answer, except for
    /// rejected credentials and server errors, which are errors.
    ///
    /// # Errors
    /// When there is no meaningful answer to the request.
    pub(super) async fn ask(
        &self,
        scope: &Scope,
        task: &'static str,
        request: impl Fn(&reqwest::Client) -> RequestBuilder,
    ) -> Result<Response, RegistryError> {
        let answered = self.answered.load(Ordering::Relaxed);
        let mut attempts =
            Attempts::new(if answered { self.retry_policy } else { self.retry_policy.short() });
        loop {
            match self.ask_once(scope, task, &Watch::new(ANSWER), &request).await {
                Ok(answer) => return Ok(answer),
                Err(failure) => attempts.wait_after(failure).await?,
            }
        }
    }

    /// Like [`Registry::ask`], for a caller that handles failures itself.
    pub(super) async fn ask_once(
        &self,
        scope: &Scope,
        task: &'static str,
        watch: &Watch,
        request: impl Fn(&reqwest::Client) -> RequestBuilder,
    ) -> Result<Response, RegistryError> {
        let answer = self.send(scope, watch, &request).await?;
        if answer.status() != StatusCode::UNAUTHORIZED {
            return self.judge(scope, task, answer).await;
        }
        // Cached knowledge or a token may have expired: the registry says what it requires now.
        self.learn(scope, task, answer).await?;
        let answer = self.send(scope, watch, &request).await?;
        match answer.status() {
            StatusCode::UNAUTHORIZED => Err(self.authorizer.refused(scope).await),
            _ => self.judge(scope, task, answer).await,
        }
    }

    async fn send(
        &self,
        scope: &Scope,
        watch: &Watch,
        request: impl Fn(&reqwest::Client) -> RequestBuilder,
    ) -> Result<Response, RegistryError> {
        let mut request =
            request(&self.client).build().map_err(|error| RegistryError::Client { source: error.into() })?;
        if self.address.owns(request.url())
            && let Some(value) = self.authorizer.value(scope).await?
        {
            request.headers_mut().insert(header::AUTHORIZATION, value);
        }
        let answer = watch.unless_stalled(self.client.execute(request)).await;
        let answer = answer.map_err(|limit| transport::silence(self.name(), limit))?;
        let answer = answer.map_err(|error| transport::failure(self.name(), error))?;
        self.answered.store(true, Ordering::Relaxed);
        Ok(answer)
    }

    async fn learn(&self, scope: &Scope, task: &'static str, answer: Response) -> Result<(), RegistryError> {
        if !self.address.owns(answer.url()) {
            // Another host's rules; our credentials are not for it.
            return Err(self.refusal(task, answer).await);
        }
        self.authorizer.learn(answer.headers(), scope).await
    }

    async fn judge(
        &self,
        scope: &Scope,
        task: &'static str,
        answer: Response,
    ) -> Result<Response, RegistryError> {
        let (status, retry_after) = (answer.status(), transport::retry_after(answer.headers()));
        let registry = self.name().to_owned();
        if status == StatusCode::TOO_MANY_REQUESTS {
            return Err(RegistryError::TooManyRequests { registry, retry_after });
        }
        if transport::is_passing(status) {
            let Refusal { reason, .. } = Refusal::read(answer, self.name()).await;
            return Err(RegistryError::Failing {
                registry,
                task,
                status: status.as_u16(),
                reason,
                retry_after,
            });
        }
        if status == StatusCode::FORBIDDEN {
            let Refusal { reason, .. } = Refusal::read(answer, self.name()).await;
            let repository = scope.repository().to_owned();
            return Err(RegistryError::Denied { registry, repository, reason });
        }
        Ok(answer)
    }

    /// The error for an unexpected answer.
    pub(super) async fn refusal(&self, task: &'static str, answer: Response) -> RegistryError {
        let (registry, status) = (self.name().to_owned(), answer.status());
        let Refusal { code, reason } = Refusal::read(answer, self.name()).await;
        match code.as_str() {
            "" if status == StatusCode::NOT_FOUND || status == StatusCode::METHOD_NOT_ALLOWED => {
                RegistryError::Protocol {
                    registry,
                    what: format!("status {status} without a reason, when asked to {task}"),
                }
            }
            _ => RegistryError::Refused { registry, task, status: status.as_u16(), code, reason },
        }
    }

    /// The URL of something in a repository, such as `manifests/latest`.
    pub(super) fn url(&self, repository: &str, path: &str) -> Url {
        self.address.at(repository, path)
    }

    /// Records that a repository has this blob.
    pub(super) fn note_holder(&self, digest: &Digest, repository: &str) {
        let mut holders = self.holders.lock();
        holders.entry(digest.clone()).or_default().insert(repository.to_owned());
    }

    /// Another repository known to have this blob.
    pub(super) fn other_holder(&self, digest: &Digest, repository: &str) -> Option<String> {
        let holders = self.holders.lock();
        holders.get(digest)?.iter().find(|holder| *holder != repository).cloned()
    }
}

/// Cancels a transfer that no longer makes progress, however long it takes otherwise.
#[derive(Debug)]
pub(super) struct Watch {
    limit: Duration,
    /// Replaces the limit once everything is sent.
    after_all: Duration,
    sent: Arc<Sent>,
}

/// The part of a body that was sent.
#[derive(Debug, Default)]
pub(super) struct Sent {
    moved: AtomicU64,
    is_all: AtomicBool,
}

impl Sent {
    /// A piece was transferred.
    pub(super) fn piece(&self, bytes: u64) {
        self.moved.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Whether there is nothing more to send. A repeated request starts over.
    pub(super) fn is_all(&self, is_all: bool) {
        self.is_all.store(is_all, Ordering::Relaxed);
    }
}

impl Watch {
    pub(super) fn new(limit: Duration) -> Self {
        Self { limit, after_all: limit, sent: Arc::default() }
    }

    /// With another limit for the time after everything is sent.
    pub(super) fn and_after_all(self, after_all: Duration) -> Self {
        Self { after_all, ..self }
    }

    /// To be called for every piece that is transferred.
    pub(super) fn sent(&self) -> Arc<Sent> {
        self.sent.clone()
    }

    /// # Errors
    /// The limit within which nothing was transferred.
    async fn unless_stalled<T>(&self, work: impl Future<Output = T>) -> Result<T, Duration> {
        let mut work = std::pin::pin!(work);
        let look = self.limit / LOOKS;
        let (mut moved, mut since) = (self.sent.moved.load(Ordering::Relaxed), Instant::now());
        loop {
            if let Ok(done) = tokio::time::timeout(look, &mut work).await {
                return Ok(done);
            }
            let now = self.sent.moved.load(Ordering::Relaxed);
            let limit = if self.sent.is_all.load(Ordering::Relaxed) { self.after_all } else { self.limit };
            if now != moved {
                (moved, since) = (now, Instant::now());
            } else if since.elapsed() >= limit {
                return Err(limit);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(120);

    /// How long a watch waits for an upload whose last piece moves after 100 seconds.
    async fn watched(watch: Watch, is_all: bool) -> (f64, Duration) {
        let (sent, started) = (watch.sent(), Instant::now());
        let work = async {
            for _ in 0..100 {
                tokio::time::sleep(Duration::from_secs(1)).await;
                sent.piece(1);
            }
            sent.is_all(is_all);
            std::future::pending::<()>().await;
        };
        let limit = watch.unless_stalled(work).await.unwrap_err();
        (started.elapsed().as_secs_f64() - 100.0, limit)
    }

    #[tokio::test(start_paused = true)]
    async fn what_stands_still_is_ended_when_its_time_is_over_and_not_much_later() {
        let (waited, limit) = watched(Watch::new(LIMIT), false).await;
        assert!((120.0..126.0).contains(&waited), "{waited}");
        assert_eq!(limit, LIMIT);
    }

    #[tokio::test(start_paused = true)]
    async fn the_longer_time_is_for_what_is_sent_only() {
        let storing = Duration::from_secs(600);
        let (waited, limit) = watched(Watch::new(LIMIT).and_after_all(storing), false).await;
        assert!((120.0..126.0).contains(&waited), "{waited}");
        assert_eq!(limit, LIMIT);
        let (waited, limit) = watched(Watch::new(LIMIT).and_after_all(storing), true).await;
        assert!((600.0..606.0).contains(&waited), "{waited}");
        assert_eq!(limit, storing);
    }
}
