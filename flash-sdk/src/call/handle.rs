//! A handle to a job that was submitted without waiting for its result.
use std::{
    marker::PhantomData,
    sync::{Arc, OnceLock},
};

use flash_protocol::{Error, ErrorKind, Result, wire::job::JobStatus};
use serde::de::DeserializeOwned;
use tokio::task::JoinHandle;

use super::{http::Client, output_of};
use crate::descriptor::Function;

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
/// Dropping the handle does not affect the job.
pub struct JobHandle<T> {
    id: String,
    location: Location<T>,
}

enum Location<T> {
    InProcess {
        task: JoinHandle<Result<T>>,
        /// Set once, by the function's end or a cancel, whichever comes first.
        ended: Arc<OnceLock<JobStatus>>,
    },
    Remote {
        client: &'static Client,
        url: &'static str,
        function: &'static Function,
        result: PhantomData<fn() -> T>,
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
        Self { id, location: Location::InProcess { task, ended } }
    }

    pub(crate) fn remote(
        client: &'static Client,
        url: &'static str,
        id: String,
        function: &'static Function,
    ) -> Self {
        Self { id, location: Location::Remote { client, url, function, result: PhantomData } }
    }

    /// The job ID, as in the platform's API.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The current status of the job.
    ///
    /// # Errors
    /// If the platform cannot be reached or no longer has the job. Results are kept for 30 minutes.
    pub async fn status(&self) -> Result<JobStatus> {
        match &self.location {
            Location::InProcess { task, ended } => Ok(match ended.get() {
                Some(status) => *status,
                // A task ends without setting its status only when the runtime shuts down.
                None if task.is_finished() => JobStatus::Cancelled,
                None => JobStatus::InProgress,
            }),
            Location::Remote { client, url, .. } => Ok(client.status(url, &self.id).await?.status),
        }
    }

    /// Asks the platform to cancel the job. A job that has ended is not changed.
    ///
    /// # Errors
    /// If the platform cannot be reached or does not know the job.
    pub async fn cancel(&self) -> Result<()> {
        match &self.location {
            Location::InProcess { task, ended } => {
                if ended.set(JobStatus::Cancelled).is_ok() {
                    task.abort();
                }
                Ok(())
            }
            Location::Remote { client, url, .. } => client.post_job(url, "cancel", &self.id).await,
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
            Location::Remote { client, url, .. } => client.post_job(url, "retry", &self.id).await,
        }
    }
}

impl<T: DeserializeOwned> JobHandle<T> {
    /// Waits for the result of the job.
    ///
    /// # Errors
    /// The function's error, or why its result could not be fetched.
    pub async fn wait(self) -> Result<T> {
        match self.location {
            Location::InProcess { task, .. } => match task.await {
                Ok(outcome) => outcome,
                Err(error) if error.is_cancelled() => JobEnd::cancelled().outcome,
                Err(error) => Err(Error::new(ErrorKind::Panic, error.to_string())),
            },
            Location::Remote { client, url, function, .. } => {
                let job = client.wait(url, &self.id).await?;
                let output = output_of(job).map_err(|error| super::located(error, function, None))?;
                serde_json::from_str(output.get()).map_err(|error| {
                    let message = format!(
                        "the result of `{}` does not match its return type: {}",
                        function.stage(),
                        flash_protocol::wire::fault(&error)
                    );
                    Error::new(ErrorKind::Decode, message)
                })
            }
        }
    }
}
