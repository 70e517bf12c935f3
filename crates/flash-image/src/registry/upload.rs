//! Gets one blob into a repository: already there, mounted from another one, or sent.
//!
//! A broken upload resumes where the registry says it is. If the registry has forgotten it, it starts over.
use std::{
    io::{self, SeekFrom},
    path::PathBuf,
    time::Duration,
};

use bytes::Bytes;
use flash_http::retry::Failure as _;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use http::{StatusCode, header};
use oci_spec::image::Digest;
use reqwest::{Body, Response, Url};
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _};
use tokio_util::io::ReaderStream;

use super::{
    auth::Scope,
    connection::{Registry, Watch},
    error::RegistryError,
    progress::{OnProgress, Progress},
    range::received,
    retry::Attempts,
};

/// The size of a read from a file.
const PIECE: usize = 256 * 1024;
/// What is sent with the request that ends the upload, rather than in a separate one.
const SMALL: u64 = 64 * 1024;
/// How long an upload may make no progress.
const STALLED: Duration = Duration::from_secs(120);
/// How long the registry may take to read the whole blob again and store it.
const STORING: Duration = Duration::from_secs(600);
/// The largest number of requests for one blob, all tries together, for registries that accept only a few bytes
/// each.
const PARTS: usize = 1_000;

/// A blob to send.
#[derive(Debug, Clone)]
pub(super) struct Blob {
    pub digest: Digest,
    pub size: u64,
    pub content: Content,
}

/// The source of its bytes.
#[derive(Debug, Clone)]
pub(super) enum Content {
    File(PathBuf),
    Memory(Bytes),
}

impl Content {
    /// Everything from an offset on; each piece that is sent is counted.
    fn body(&self, offset: u64, size: u64, mut count: impl FnMut(u64) + Send + 'static) -> Body {
        let pieces = match self {
            Self::Memory(bytes) => {
                let rest =
                    bytes.slice(usize::try_from(offset).map_or(bytes.len(), |at| at.min(bytes.len()))..);
                stream::once(async { Ok(rest) }).left_stream()
            }
            Self::File(path) => {
                let path = path.clone();
                let opened = async move {
                    let mut file = tokio::fs::File::open(&path).await?;
                    file.seek(SeekFrom::Start(offset)).await?;
                    // Never more than announced, whatever happens to the file.
                    Ok::<_, io::Error>(ReaderStream::with_capacity(file.take(size - offset), PIECE))
                };
                stream::once(opened).try_flatten().right_stream()
            }
        };
        Body::wrap_stream(pieces.inspect_ok(move |piece: &Bytes| count(piece.len() as u64)))
    }
}

/// How a blob got into the repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Arrival {
    WasThere,
    Mounted,
    Uploaded,
}

/// Gets a blob into a repository.
pub(super) async fn put(
    registry: &Registry,
    repository: &str,
    blob: &Blob,
    progress: OnProgress<'_>,
) -> Result<Arrival, RegistryError> {
    let upload = Upload { registry, repository, blob, scope: Scope::push(repository), progress };
    let arrival = match upload.is_there().await? {
        true => Arrival::WasThere,
        false => match upload.begin(registry.other_holder(&blob.digest, repository)).await? {
            Begun::Mounted => Arrival::Mounted,
            Begun::Session(session) => {
                upload.finish(session).await?;
                Arrival::Uploaded
            }
        },
    };
    registry.note_holder(&blob.digest, repository);
    upload.report_progress(blob.size);
    Ok(arrival)
}

struct Upload<'a> {
    registry: &'a Registry,
    repository: &'a str,
    blob: &'a Blob,
    scope: Scope,
    progress: OnProgress<'a>,
}

/// An upload known to the registry.
struct Session {
    /// The URL of the next request. Some registries sign it, so it must not be shown.
    url: Url,
    /// What the registry has received.
    offset: u64,
    begun: Start,
}

/// Whether all of an upload was sent in one request.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Start {
    Whole,
    Resumed,
}

enum Begun {
    Mounted,
    Session(Session),
}

/// Why an upload did not finish.
enum Stop {
    /// The registry no longer knows it, or differs from us.
    Lost(RegistryError),
    Failed(RegistryError),
}

impl From<RegistryError> for Stop {
    fn from(error: RegistryError) -> Self {
        Self::Failed(error)
    }
}

impl Upload<'_> {
    fn report_progress(&self, done: u64) {
        (self.progress)(Progress { digest: self.blob.digest.clone(), done, total: self.blob.size });
    }

    async fn is_there(&self) -> Result<bool, RegistryError> {
        let task = "check for a blob";
        let url = self.registry.url(self.repository, &format!("blobs/{}", self.blob.digest));
        let answer = self.registry.ask(&self.scope, task, |client| client.head(url.clone())).await?;
        match answer.status() {
            status if status.is_success() => Ok(true),
            StatusCode::NOT_FOUND => Ok(false),
            _ => Err(self.registry.refusal(task, answer).await),
        }
    }

    /// Starts an upload, or mounts the blob instead if possible.
    async fn begin(&self, holder: Option<String>) -> Result<Begun, RegistryError> {
        if let Some(holder) = holder {
            let scope = self.scope.clone().and_pull(&holder);
            let mount = [("mount", self.blob.digest.as_ref()), ("from", holder.as_str())];
            match self.post(&scope, &mount).await {
                // Some registries reject a mount instead of starting an upload.
                Err(error) if !error.is_passing() => {}
                outcome => return outcome,
            }
        }
        self.post(&self.scope, &[]).await
    }

    async fn post(&self, scope: &Scope, query: &[(&str, &str)]) -> Result<Begun, RegistryError> {
        let task = "start an upload";
        let mut url = self.registry.url(self.repository, "blobs/uploads/");
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        let request = |client: &reqwest::Client| client.post(url.clone()).header(header::CONTENT_LENGTH, 0);
        let answer = self.registry.ask(scope, task, request).await?;
        match answer.status() {
            StatusCode::CREATED => Ok(Begun::Mounted),
            StatusCode::ACCEPTED => {
                Ok(Begun::Session(Session { url: self.next(&answer)?, offset: 0, begun: Start::Whole }))
            }
            StatusCode::NOT_FOUND | StatusCode::BAD_REQUEST => Err(self.name_refused(task, answer).await),
            _ => Err(self.registry.refusal(task, answer).await),
        }
    }

    async fn name_refused(&self, task: &'static str, answer: Response) -> RegistryError {
        match self.registry.refusal(task, answer).await {
            RegistryError::Refused { registry, reason, .. } => {
                RegistryError::NameRefused { registry, repository: self.repository.to_owned(), reason }
            }
            other => other,
        }
    }

    /// The next URL of the upload, from an answer.
    fn next(&self, answer: &Response) -> Result<Url, RegistryError> {
        let location = answer.headers().get(header::LOCATION).and_then(|value| value.to_str().ok());
        let next = location.and_then(|location| self.registry.address.follow(answer.url(), location));
        next.ok_or_else(|| RegistryError::Protocol {
            registry: self.registry.name().to_owned(),
            what: "it did not say where an upload continues, or not with HTTPS".to_owned(),
        })
    }

    /// Sends the blob, with as many requests as it takes.
    async fn finish(&self, mut session: Session) -> Result<(), RegistryError> {
        let mut attempts = Attempts::new(self.registry.retry_policy);
        let mut parts = 0;
        loop {
            let before = session.offset;
            let standing = match self.send(&mut session, &mut parts).await {
                Ok(()) => return Ok(()),
                Err(Stop::Lost(error)) => {
                    let registry = self.registry.name().to_owned();
                    let lost = RegistryError::UploadLost { registry, source: Box::new(error) };
                    attempts.wait_after(lost).await?;
                    None
                }
                Err(Stop::Failed(error)) => {
                    // Asked at once, a registry may not have noticed the broken connection yet.
                    let failure = attempts.wait_before_counting(error).await?;
                    let standing = self.standing(&session).await?;
                    if standing.as_ref().is_some_and(|standing| standing.offset > before) {
                        attempts.progressed();
                    }
                    attempts.count(failure)?;
                    standing
                }
            };
            match standing {
                Some(standing) => session = standing,
                // Only the answer to the last request may have been lost.
                None if self.is_there().await? => return Ok(()),
                None => match self.begin(None).await? {
                    Begun::Mounted => return Ok(()),
                    Begun::Session(anew) => session = anew,
                },
            }
            self.report_progress(session.offset);
        }
    }

    /// How much of an upload the registry has; nothing if it has forgotten it.
    async fn standing(&self, session: &Session) -> Result<Option<Session>, RegistryError> {
        let task = "report how much of an upload it has";
        let request = |client: &reqwest::Client| client.get(session.url.clone());
        let answer = self.registry.ask(&self.scope, task, request).await?;
        if !answer.status().is_success() {
            return Ok(None);
        }
        // The URL stays the same if the answer names no other.
        let url = self.next(&answer).unwrap_or_else(|_| session.url.clone());
        let offset = received(answer.headers()).unwrap_or(0);
        Ok((offset <= self.blob.size).then_some(Session { url, offset, begun: Start::Resumed }))
    }

    /// Sends what the registry does not have yet, and ends the upload.
    async fn send(&self, session: &mut Session, parts: &mut usize) -> Result<(), Stop> {
        while self.blob.size - session.offset > SMALL {
            let task = "accept a part of a blob";
            self.count_part(parts)?;
            let answer = self.send_rest(session, task, reqwest::Method::PATCH, &session.url).await?;
            if answer.status() != StatusCode::ACCEPTED {
                return Err(self.stopped(task, answer, session.begun).await);
            }
            let offset = received(answer.headers()).unwrap_or(self.blob.size);
            if offset <= session.offset || offset > self.blob.size {
                let what = format!("it has only {offset} of {} bytes after all were sent", self.blob.size);
                let registry = self.registry.name().to_owned();
                return Err(Stop::Lost(RegistryError::Protocol { registry, what }));
            }
            *session = Session { url: self.next(&answer)?, offset, begun: session.begun };
        }
        let task = "store a blob";
        self.count_part(parts)?;
        let mut url = session.url.clone();
        url.query_pairs_mut().append_pair("digest", self.blob.digest.as_ref());
        let answer = self.send_rest(session, task, reqwest::Method::PUT, &url).await?;
        match answer.status() {
            status if status.is_success() => Ok(()),
            _ => Err(self.stopped(task, answer, session.begun).await),
        }
    }

    fn count_part(&self, parts: &mut usize) -> Result<(), RegistryError> {
        *parts += 1;
        if *parts <= PARTS {
            return Ok(());
        }
        let what = format!("{PARTS} requests were not enough for one blob");
        Err(RegistryError::Protocol { registry: self.registry.name().to_owned(), what })
    }

    /// One request with everything from the offset on.
    async fn send_rest(
        &self,
        session: &Session,
        task: &'static str,
        method: reqwest::Method,
        url: &Url,
    ) -> Result<Response, RegistryError> {
        let (offset, size) = (session.offset, self.blob.size);
        let watch = match method {
            reqwest::Method::PUT => Watch::new(STALLED).and_after_all(STORING),
            _ => Watch::new(STALLED),
        };
        // A body outlives its caller's borrows, so its count comes back this way.
        let (sent, mut progress) = tokio::sync::watch::channel(offset);
        let request = |client: &reqwest::Client| {
            let (watched, sent) = (watch.sent(), sent.clone());
            let mut done = offset;
            watched.is_all(done == size);
            let count = move |taken: u64| {
                done += taken;
                watched.piece(taken);
                watched.is_all(done == size);
                sent.send_replace(done);
            };
            let request = client
                .request(method.clone(), url.clone())
                .header(header::CONTENT_TYPE, "application/octet-stream")
                .header(header::CONTENT_LENGTH, size - offset);
            // Not if the blob is sent as a whole: some registries take that for chunks, which they reject.
            let request = match offset {
                1.. if offset < size => {
                    request.header(header::CONTENT_RANGE, format!("{offset}-{}", size - 1))
                }
                _ => request,
            };
            request.body(self.blob.content.body(offset, size, count))
        };
        let mut answer = std::pin::pin!(self.registry.ask_once(&self.scope, task, &watch, request));
        loop {
            tokio::select! {
                answer = &mut answer => return answer,
                Ok(()) = progress.changed() => self.report_progress(*progress.borrow_and_update()),
            }
        }
    }

    async fn stopped(&self, task: &'static str, answer: Response, begun: Start) -> Stop {
        let status = answer.status();
        let refusal = self.registry.refusal(task, answer).await;
        match refusal {
            // If it was sent in one request, our own blob does not match its digest.
            RegistryError::Refused { code, .. } if code == "DIGEST_INVALID" && begun == Start::Whole => {
                Stop::Failed(RegistryError::DigestMismatch {
                    what: "the blob received by the registry".to_owned(),
                    wanted: self.blob.digest.clone(),
                    found: "another".to_owned(),
                })
            }
            refusal => match status {
                // Whatever was wrong with this upload, a new one starts clean.
                StatusCode::BAD_REQUEST
                | StatusCode::NOT_FOUND
                | StatusCode::CONFLICT
                | StatusCode::RANGE_NOT_SATISFIABLE => Stop::Lost(refusal),
                _ => Stop::Failed(refusal),
            },
        }
    }
}
