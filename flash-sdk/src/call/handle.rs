//! A handle to a job that was submitted without waiting for its result.
use std::sync::{Arc, OnceLock};

use flash_protocol::{Error, ErrorKind, Result, wire::job::JobStatus};
use futures_util::{StreamExt as _, stream};
use serde::de::DeserializeOwned;
use tokio::task::JoinHandle;

use super::coding;
use crate::{deadline::within_current_call, descriptor::Function, queue_client::RemoteJob};

/// How a job in this process ended.
pub(crate) struct JobEnd<T> {
    status: JobStatus,
    outcome: Result<T>,
}

impl<T> JobEnd<T> {
    /// For a function that has returned.
    pub(crate) fn of(outcome: Result<T>) -> Self {
        let status = if outcome.is_ok() { JobStatus::Completed } else { JobStatus::Failed };
        Self { status, outcome }
    }

    /// For a function whose time ran out.
    pub(crate) fn timed_out(error: Error) -> Self {
        Self { status: JobStatus::TimedOut, outcome: Err(error) }
    }

    fn cancelled() -> Self {
        let error = Error::new(ErrorKind::Cancelled, "the job was cancelled");
        Self { status: JobStatus::Cancelled, outcome: Err(error) }
    }
}

/// A job on another worker, or in a task of this process if no platform is configured.
///
/// It is an [`endpoint::Job`](crate::endpoint::Job) whose result type is known: the methods that both have do the
/// same. Dropping the handle, or the future of a method, does not affect the job.
pub struct JobHandle<T> {
    location: Location<T>,
}

enum Location<T> {
    InProcess {
        id: String,
        task: JoinHandle<Result<T>>,
        /// Set once, by the function's end or a cancel, whichever comes first.
        ended: Arc<OnceLock<JobStatus>>,
    },
    Remote {
        job: RemoteJob,
        function: &'static Function,
    },
}

impl<T> JobHandle<T> {
    /// Creates an ID for a job in this process.
    pub(crate) fn new_id() -> String {
        format!("local-{}", uuid::Uuid::new_v4())
    }

    pub(crate) fn in_process(id: String, job: impl Future<Output = JobEnd<T>> + Send + 'static) -> Self
    where
        T: Send + 'static,
    {
        let ended = Arc::new(OnceLock::new());
        let says = ended.clone();
        let task = tokio::spawn(async move {
            let JobEnd { status, outcome } = job.await;
            match says.set(status) {
                Ok(()) => outcome,
                Err(_) => JobEnd::cancelled().outcome,
            }
        });
        Self { location: Location::InProcess { id, task, ended } }
    }

    pub(crate) fn remote(job: RemoteJob, function: &'static Function) -> Self {
        Self { location: Location::Remote { job, function } }
    }

    /// The job ID, as in the platform's API.
    pub fn id(&self) -> &str {
        match &self.location {
            Location::InProcess { id, .. } => id,
            Location::Remote { job, .. } => &job.id,
        }
    }

    /// The current status of the job.
    ///
    /// # Errors
    /// If the platform cannot be reached or no longer has the job. Results are kept for 30 minutes.
    pub async fn status(&self) -> Result<JobStatus> {
        match &self.location {
            Location::InProcess { task, ended, .. } => Ok(match ended.get() {
                Some(status) => *status,
                // A task ends without setting its status only when the runtime shuts down.
                None if task.is_finished() => JobStatus::Cancelled,
                None => JobStatus::InProgress,
            }),
            Location::Remote { job, .. } => Ok(job.object().await?.status),
        }
    }

    /// Asks the platform to cancel the job. A job that has ended is not changed.
    ///
    /// # Errors
    /// If the platform cannot be reached or does not know the job.
    pub async fn cancel(&self) -> Result<()> {
        match &self.location {
            Location::InProcess { task, ended, .. } => {
                if ended.set(JobStatus::Cancelled).is_ok() {
                    task.abort();
                }
                Ok(())
            }
            Location::Remote { job, .. } => job.cancel().await,
        }
    }

    /// Puts a failed or timed-out job back into the queue, with the same ID and input.
    ///
    /// # Errors
    /// If the platform cannot be reached or refuses, and always for a job in this process.
    pub async fn retry(&self) -> Result<()> {
        match &self.location {
            Location::InProcess { .. } => Err(Error::new(
                ErrorKind::Refused,
                "a job in this process does not keep its input: call the function again",
            )),
            Location::Remote { job, .. } => job.retry().await,
        }
    }
}

impl<T: DeserializeOwned> JobHandle<T> {
    /// Waits for the result of the job, at most until the deadline of the current call. Then the job goes on.
    ///
    /// # Errors
    /// The job's error in any other final state, or why its result could not be fetched.
    pub async fn wait(self) -> Result<T> {
        match self.location {
            Location::InProcess { task, .. } => {
                within_current_call(async {
                    match task.await {
                        Ok(outcome) => outcome,
                        Err(error) if error.is_cancelled() => JobEnd::cancelled().outcome,
                        Err(error) => Err(Error::new(ErrorKind::Panic, error.to_string())),
                    }
                })
                .await
            }
            Location::Remote { job, function } => coding::decode_json(function, &job.output().await?),
        }
    }
}

/// How many jobs [`join_all`] asks about at a time.
const JOINED_AT_ONCE: usize = 64;

/// Waits for the results of all jobs, and returns them in the order of the handles. A failed job does not end the wait
/// for the others.
///
/// ```no_run
/// # use flash_sdk::{Result, join_all, remote};
/// # #[remote(cpu = Cpu3c_1_2)]
/// # pub async fn hello(name: String) -> Result<String> { Ok(name) }
/// # async fn example() -> Result<()> {
/// let jobs = [hello::spawn("Ada".to_owned()).await?, hello::spawn("Alan".to_owned()).await?];
/// let greetings: Vec<String> = join_all(jobs).await.into_iter().collect::<Result<_>>()?;
/// # Ok(())
/// # }
/// # fn main() {}
/// ```
///
/// It asks about 64 jobs at a time. Dropping the future does not affect the jobs.
pub async fn join_all<T: DeserializeOwned>(
    handles: impl IntoIterator<Item = JobHandle<T>>,
) -> Vec<Result<T>> {
    stream::iter(handles).map(JobHandle::wait).buffered(JOINED_AT_ONCE).collect().await
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use flash_protocol::wire::envelope::Envelope;

    use super::*;
    use crate::context::{Context, Setup, epoch_ms};

    #[tokio::test]
    async fn nobody_waits_longer_than_his_own_call_may_take() {
        let deadline_ms = Some(epoch_ms(Instant::now() + Duration::from_millis(20)));
        let envelope = Envelope { deadline_ms, ..Envelope::default() };
        let context = Context::new(Setup { envelope, ..Setup::default() });
        let job = JobHandle::<u32>::in_process(JobHandle::<u32>::new_id(), std::future::pending());
        let error = context.scope(job.wait()).await.unwrap_err();
        assert_eq!((error.kind(), error.message()), (ErrorKind::Timeout, "the caller's deadline passed"));
    }
}
