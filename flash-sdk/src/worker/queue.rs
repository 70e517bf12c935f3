//! Runs work with Runpod's worker protocol: polls for jobs, runs them, posts results, pings, and checks for stopped
//! jobs.
//!
//! On the wire it behaves as Runpod's Python worker, but does not lose work where that one does: it retries a
//! finished result with back-off for a limited time, backs off after a failed take, and fails the job at once for a
//! panic or an output that cannot be written as JSON. The provider does not run a job again after an error, so
//! `retries` of a function are done here.
use std::{collections::HashMap, sync::Arc, time::Duration};

use flash_protocol::{
    Lifetime,
    wire::{
        RawJson, envelope,
        identity::RequestId,
        job::{ErrorText, JobStatus, PostedResult, TakenJob},
        job_end,
    },
};
use parking_lot::Mutex;
use reqwest::StatusCode;
use serde::Deserialize;
use tokio::{
    sync::{Semaphore, mpsc},
    time::Instant,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    heartbeat::Heartbeat,
    job::{self, Finished, Functions, Job},
    settings::{Runpod, Settings},
    shutdown::Shutdown,
};
use crate::http_client::http_client;

/// How long the platform may hold a poll.
const POLL_TIMEOUT: Duration = Duration::from_secs(90);
/// The pause after status 429.
const TOO_MANY: Duration = Duration::from_secs(5);
/// The pause between failed requests, doubling from the first to the second value.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(15));
/// Attempts to post a chunk; later updates wait meanwhile.
const CHUNK_TRIES: u32 = 4;

/// Takes jobs until a signal arrives, then finishes running jobs.
pub(super) async fn run(
    urls: &Runpod,
    settings: &Settings,
    functions: Arc<Functions>,
    shutdown: Shutdown,
) -> Result<(), String> {
    functions.init().await?;
    let worker = Arc::new(Worker {
        client: http_client(),
        urls: urls.clone(),
        worker_id: settings.worker_id.clone(),
        hostname: settings.hostname.clone(),
        result_retry: settings.result_retry,
        functions,
        running: Mutex::default(),
    });
    let jobs = TaskTracker::new();
    let drained = CancellationToken::new();
    // Both continue until the last job has ended: jobs must be pinged, and can be stopped, during the drain.
    let pinged = worker.clone();
    let jobs_now = move || pinged.with_running(|running| running.keys().cloned().collect());
    let heartbeat = urls.heartbeats.as_ref().map(|beats| Heartbeat::start(beats, jobs_now)).transpose()?;
    let stops = drained.clone().run_until_cancelled_owned({
        let worker = worker.clone();
        async move { worker.listen_for_stops().await }
    });
    let stops = tokio::spawn(stops);
    worker.clone().take_jobs(&jobs, &shutdown).await;
    jobs.close();
    let finished = tokio::time::timeout(shutdown.left(), jobs.wait()).await;
    if finished.is_ok() {
        worker.functions.exit(&shutdown).await;
    }
    drained.cancel();
    // Cancelled above, so it ends at once.
    let _ = stops.await;
    drop(heartbeat);
    finished.map_err(|_| format!("jobs still running {} s after the signal", shutdown.drain().as_secs()))
}

struct Worker {
    client: reqwest::Client,
    urls: Runpod,
    worker_id: String,
    hostname: String,
    result_retry: Duration,
    functions: Arc<Functions>,
    /// Running jobs, so that they can be stopped by ID and listed in pings.
    running: Mutex<HashMap<String, CancellationToken>>,
}

/// The result of a take.
enum Taken {
    Jobs(Vec<TakenJob>),
    /// Ask again after this time.
    Wait(Duration),
    /// An error: ask again, with growing pauses.
    Failed(String),
}

impl Worker {
    fn with_running<T>(&self, with: impl FnOnce(&mut HashMap<String, CancellationToken>) -> T) -> T {
        with(&mut self.running.lock())
    }

    /// Whether it ends after its first job.
    fn is_task(&self) -> bool {
        self.functions.worker_type().lifetime == Lifetime::OneJob
    }

    async fn take_jobs(self: Arc<Self>, jobs: &TaskTracker, shutdown: &Shutdown) {
        let concurrency = self.functions.worker_type().max_concurrency;
        let slots = Arc::new(Semaphore::new(concurrency as usize));
        let mut pause = BACK_OFF.0;
        loop {
            // Waits for one free slot, then asks for as many jobs as there are free slots.
            let slot = tokio::select! {
                slot = slots.acquire() => slot,
                () = shutdown.requested() => return,
            };
            drop(slot);
            let wanted = u32::try_from(slots.available_permits()).unwrap_or(u32::MAX).max(1);
            // A signal drops the poll's connection, so that the platform can give the job to another worker.
            let taken = tokio::select! {
                taken = self.take(wanted) => taken,
                () = shutdown.requested() => return,
            };
            match taken {
                Taken::Jobs(taken) => {
                    pause = BACK_OFF.0;
                    for job in taken {
                        self.clone().start(job, jobs, &slots);
                    }
                    if self.is_task() {
                        // It ends after this job, however long that takes.
                        jobs.close();
                        tokio::select! {
                            () = jobs.wait() => {}
                            () = shutdown.requested() => {}
                        }
                        return;
                    }
                    continue;
                }
                Taken::Wait(time) => {
                    pause = BACK_OFF.0;
                    sleep_unless(time, shutdown).await;
                }
                Taken::Failed(problem) => {
                    tracing::error!("could not take a job: {problem}; retrying in {pause:?}");
                    sleep_unless(pause, shutdown).await;
                    pause = (pause * 2).min(BACK_OFF.1);
                }
            }
        }
    }

    fn start(self: Arc<Self>, job: TakenJob, jobs: &TaskTracker, slots: &Arc<Semaphore>) {
        let cancelled = CancellationToken::new();
        let known = self.with_running(|running| running.insert(job.id.clone(), cancelled.clone()).is_some());
        if known {
            tracing::warn!("job `{}` was delivered twice; ignoring the second delivery", job.id);
            return;
        }
        let slots = slots.clone();
        jobs.spawn(async move {
            // More jobs than slots may come when a platform ignores the batch size: they wait here.
            let _slot = slots.acquire_owned().await;
            self.work(job, cancelled).await;
        });
    }

    async fn take(&self, wanted: u32) -> Taken {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Body {
            Batch(Vec<TakenJob>),
            One(TakenJob),
        }
        let in_progress = self.with_running(|running| !running.is_empty());
        let request = self.get(&self.urls.take_url(wanted, in_progress)).timeout(POLL_TIMEOUT);
        let response = match request.send().await {
            Ok(response) => response,
            Err(error) if error.is_timeout() => return Taken::Wait(Duration::ZERO),
            Err(error) => return Taken::Failed(chain(&error.without_url())),
        };
        match response.status() {
            StatusCode::OK => {}
            // With FlashBoot, 400 means "no job". The pause avoids a busy loop if the server does not hold the
            // request.
            StatusCode::NO_CONTENT | StatusCode::BAD_REQUEST => {
                return Taken::Wait(Duration::from_millis(100));
            }
            StatusCode::TOO_MANY_REQUESTS => return Taken::Wait(TOO_MANY),
            status => return Taken::Failed(format!("HTTP {status}")),
        }
        let body = match response.bytes().await {
            Ok(body) if body.is_empty() => return Taken::Wait(Duration::from_millis(100)),
            Ok(body) => body,
            Err(error) => return Taken::Failed(chain(&error.without_url())),
        };
        // Not as an untagged enum, because serde's buffer cannot hold a raw value.
        let parsed = match body.first() {
            Some(b'[') => serde_json::from_slice(&body).map(Body::Batch),
            _ => serde_json::from_slice(&body).map(Body::One),
        };
        match parsed {
            Ok(Body::One(job)) => Taken::Jobs(vec![job]),
            Ok(Body::Batch(jobs)) if jobs.is_empty() => Taken::Wait(Duration::from_millis(100)),
            Ok(Body::Batch(jobs)) => Taken::Jobs(jobs),
            Err(error) => {
                Taken::Failed(format!("could not parse the job: {}", flash_protocol::wire::fault(&error)))
            }
        }
    }

    async fn work(&self, job: TakenJob, cancelled: CancellationToken) {
        let id = job.id;
        let (mut envelope, input) = match job.input {
            Some(input) => envelope::open(input),
            None => (envelope::Envelope::default(), flash_protocol::wire::null()),
        };
        // The provider's job ID; if it is not a valid request ID, the context creates one.
        envelope.request_id = envelope.request_id.or_else(|| RequestId::parse(&id));
        // Chunks and progress are posted in order while the function runs.
        let (updates, queued) = mpsc::unbounded_channel();
        let posting = self.post_updates(&id, queued);
        let progress = updates.clone();
        let job = Job {
            id: id.clone(),
            attempt: 0,
            envelope,
            input: Some(input.into()),
            cancelled: cancelled.clone(),
            progress: Some(Arc::new(move |output| {
                // The receiver lives as long as the job.
                let _ = progress.send(Update::Progress(output));
            })),
            // The provider does not know of shares.
            batch_sink: None,
        };
        let running = async {
            let finished = job::run_again(&self.functions, &self.worker_id, job, |output| {
                let _ = updates.send(Update::Chunk(output.into_json()));
            })
            .await;
            // Sent explicitly, because user code may keep a sender alive in a task.
            let _ = updates.send(Update::End);
            finished
        };
        let (finished, ()) = tokio::join!(running, posting);
        self.report(&id, finished, &cancelled).await;
        self.with_running(|running| running.remove(&id));
    }

    async fn report(&self, id: &str, finished: Finished, cancelled: &CancellationToken) {
        if cancelled.is_cancelled() {
            // The platform stopped the job and knows its state, so nothing is posted.
            tracing::info!("job `{id}` stopped");
            return;
        }
        let Finished { outcome, ran, streamed, function, context } = finished;
        // The provider's console only shows what a worker logs about a job.
        context.clone().sync_scope(|| {
            let function = function.as_deref().unwrap_or("job");
            let text = |status| match context.batch() {
                Some((run, share)) => job_end::text_in_batch(function, status, ran, share, run.size),
                None => job_end::text(function, status, ran),
            };
            let of_models: String = context
                .take_generated()
                .iter()
                .map(|(model, of)| format!(", {model}: {}", of.line()))
                .collect();
            match &outcome {
                Ok(_) => tracing::info!("{}{of_models}", text(JobStatus::Completed)),
                Err(error) => tracing::info!("{}{of_models}: {error}", text(JobStatus::Failed)),
            }
        });
        let stop_pod = self.is_task();
        let posted = match outcome {
            Ok(output) => {
                PostedResult { output: Some(output.into_json()), stop_pod, ..PostedResult::default() }
            }
            Err(error) => {
                let text = ErrorText::of(error.to_wire(), &self.hostname).to_text();
                PostedResult { error: Some(text.into()), stop_pod, ..PostedResult::default() }
            }
        };
        let url = self.urls.output.replace("$ID", id);
        let url = Runpod::with(&url, &format!("isStream={streamed}"));
        self.post_result(id, &url, &posted).await;
    }

    /// Posts a result until the platform accepts it, refuses it for good, or the time is up.
    async fn post_result(&self, id: &str, url: &str, posted: &PostedResult) {
        let until = Instant::now() + self.result_retry;
        let mut pause = BACK_OFF.0;
        loop {
            let problem = match self.post(id, url, posted).await {
                Ok(()) => return,
                Err(Refusal::Final(problem)) => {
                    tracing::error!("the platform refused the result of job `{id}`: {problem}");
                    return;
                }
                Err(Refusal::Retry(problem)) => problem,
            };
            if Instant::now() + pause > until {
                tracing::error!(
                    "gave up on the result of job `{id}` after {:?}: {problem}",
                    self.result_retry
                );
                return;
            }
            tracing::warn!("could not post the result of job `{id}`: {problem}; retrying in {pause:?}");
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(BACK_OFF.1);
        }
    }

    /// Posts updates in order. Progress is best effort: after a failed update, later ones are still posted. After a
    /// failed chunk, no more are posted, so that the stream has no gaps; the job's result lists all chunks.
    async fn post_updates(&self, id: &str, mut queued: mpsc::UnboundedReceiver<Update>) {
        let mut stream = self.urls.stream.as_deref().map(|url| update_url(url, id));
        while let Some(update) = queued.recv().await {
            match update {
                Update::Progress(output) => {
                    let status = Some(JobStatus::InProgress);
                    let posted = PostedResult { status, output: Some(output), ..PostedResult::default() };
                    let posted = self.post(id, &update_url(&self.urls.output, id), &posted).await;
                    if let Err(Refusal::Retry(problem) | Refusal::Final(problem)) = posted {
                        tracing::warn!("could not post progress of job `{id}`: {problem}");
                    }
                }
                Update::Chunk(output) => {
                    let Some(url) = &stream else { continue };
                    let posted = PostedResult { output: Some(output), ..PostedResult::default() };
                    if let Err(problem) = self.post_chunk(id, url, &posted).await {
                        tracing::warn!(
                            "the stream of job `{id}` ends here, because a chunk was refused: {problem}; its \
                             result will be complete"
                        );
                        stream = None;
                    }
                }
                Update::End => return,
            }
        }
    }

    /// Posts a chunk, with a few attempts.
    async fn post_chunk(&self, id: &str, url: &str, posted: &PostedResult) -> Result<(), String> {
        let mut pause = BACK_OFF.0;
        for _ in 1..CHUNK_TRIES {
            match self.post(id, url, posted).await {
                Ok(()) => return Ok(()),
                Err(Refusal::Final(problem)) => return Err(problem),
                Err(Refusal::Retry(_)) => tokio::time::sleep(pause).await,
            }
            pause *= 2;
        }
        match self.post(id, url, posted).await {
            Ok(()) => Ok(()),
            Err(Refusal::Retry(problem) | Refusal::Final(problem)) => Err(problem),
        }
    }

    async fn post(&self, id: &str, url: &str, posted: &PostedResult) -> Result<(), Refusal> {
        let request =
            self.client.post(url).header("authorization", &self.urls.key).header("x-request-id", id);
        let response = request.json(posted).timeout(Duration::from_secs(60)).send().await;
        let status = response.map_err(|error| Refusal::Retry(chain(&error.without_url())))?.status();
        judge(status)
    }

    async fn listen_for_stops(&self) {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Stops {
            #[serde(default)]
            jobs_to_stop: Vec<String>,
        }
        let Some(url) = self.urls.stop_url() else { return };
        loop {
            let pause = match self.get(&url).timeout(POLL_TIMEOUT).send().await {
                Ok(response) if response.status() == StatusCode::OK => match response.json::<Stops>().await {
                    Ok(stops) if !stops.jobs_to_stop.is_empty() => {
                        self.stop(&stops.jobs_to_stop);
                        Duration::ZERO
                    }
                    _ => Duration::from_secs(1),
                },
                Ok(response) if response.status() == StatusCode::TOO_MANY_REQUESTS => TOO_MANY,
                // Platforms without this endpoint always answer 404.
                Ok(response) if response.status() == StatusCode::NOT_FOUND => BACK_OFF.1,
                Err(error) if error.is_timeout() => Duration::ZERO,
                _ => Duration::from_secs(1),
            };
            tokio::time::sleep(pause).await;
        }
    }

    fn stop(&self, ids: &[String]) {
        self.with_running(|running| {
            for cancelled in ids.iter().filter_map(|id| running.get(id)) {
                cancelled.cancel();
            }
        });
    }

    fn get(&self, url: &str) -> reqwest::RequestBuilder {
        self.client
            .get(url)
            .header("content-type", "application/json")
            .header("authorization", &self.urls.key)
    }
}

/// The URL for updates of a job.
fn update_url(template: &str, id: &str) -> String {
    Runpod::with(&template.replace("$ID", id), "isStream=false")
}

/// A chunk or progress to post.
enum Update {
    Progress(RawJson),
    Chunk(RawJson),
    /// The function has returned; nothing follows.
    End,
}

/// A post that was not accepted.
#[derive(Debug)]
enum Refusal {
    Retry(String),
    Final(String),
}

/// What the answer to a post means.
fn judge(status: StatusCode) -> Result<(), Refusal> {
    let problem = format!("HTTP {status}");
    match status.as_u16() {
        200..=299 => Ok(()),
        // Something in front of the platform redirects posts, so the result has not arrived.
        300..=399 => Err(Refusal::Retry(format!("{problem}: redirects are not followed"))),
        // A key may be rotated and a limit may end; all other refusals are final.
        401 | 403 | 408 | 425 | 429 | 500.. => Err(Refusal::Retry(problem)),
        _ => Err(Refusal::Final(problem)),
    }
}

async fn sleep_unless(time: Duration, shutdown: &Shutdown) {
    tokio::select! {
        () = tokio::time::sleep(time) => {}
        () = shutdown.requested() => {}
    }
}

/// An error with its causes in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut line = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        line.push_str(": ");
        line.push_str(&cause.to_string());
        source = cause.source();
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_2xx_means_that_a_result_was_taken() {
        for (status, taken, again) in [
            (200, true, false),
            (204, true, false),
            (301, false, true),
            (302, false, true),
            (304, false, true),
            (308, false, true),
            (400, false, false),
            (401, false, true),
            (404, false, false),
            (429, false, true),
            (503, false, true),
        ] {
            let judged = judge(StatusCode::from_u16(status).unwrap());
            assert_eq!(judged.is_ok(), taken, "{status}");
            assert_eq!(matches!(judged, Err(Refusal::Retry(_))), again, "{status}");
        }
    }
}
