//! A handle to a job that was handed over without waiting for it.
use std::{
    marker::PhantomData,
    sync::{Arc, OnceLock},
};

use serde::de::DeserializeOwned;
use tokio::task::JoinHandle;

use super::{http::Client, output_of};
use crate::{Error, ErrorKind, Result, registry::Function, wire::job::JobStatus};

/// How a job in this process ended.
pub(crate) struct JobEnd<T> {
    status: JobStatus,
    outcome: Result<T>,
}

impl<T> JobEnd<T> {
    /// The function returned this.
    pub(crate) fn of(outcome: Result<T>) -> Self {
        let status = if outcome.is_ok() { JobStatus::Completed } else { JobStatus::Failed };
        Self { status, outcome }
    }

    /// Its time was over.
    pub(crate) fn timed_out(error: Error) -> Self {
        Self { status: JobStatus::TimedOut, outcome: Err(error) }
    }

    fn cancelled() -> Self {
        let error = Error::new(ErrorKind::Cancelled, "the job was cancelled");
        Self { status: JobStatus::Cancelled, outcome: Err(error) }
    }
}

/// A job that runs elsewhere, or in a task of this process where no platform is configured.
///
/// Dropping it leaves the job alone.
pub struct JobHandle<T> {
    id: String,
    place: Place<T>,
}

enum Place<T> {
    InProcess {
        task: JoinHandle<Result<T>>,
        /// Said once, by the function's end or by a cancel, whichever comes first.
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
    /// An id for a job in this process.
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
        Self { id, place: Place::InProcess { task, ended } }
    }

    pub(crate) fn remote(
        client: &'static Client,
        url: &'static str,
        id: String,
        function: &'static Function,
    ) -> Self {
        Self { id, place: Place::Remote { client, url, function, result: PhantomData } }
    }

    /// The job's id, as the platform's API knows it.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Where the job is in its life.
    ///
    /// # Errors
    /// When the platform cannot be reached, or has forgotten the job: results are kept for 30 minutes.
    pub async fn status(&self) -> Result<JobStatus> {
        match &self.place {
            Place::InProcess { task, ended } => Ok(match ended.get() {
                Some(status) => *status,
                // Only the end of the runtime ends a task that has not said so.
                None if task.is_finished() => JobStatus::Cancelled,
                None => JobStatus::InProgress,
            }),
            Place::Remote { client, url, .. } => Ok(client.status(url, &self.id).await?.status),
        }
    }

    /// Asks the platform to cancel the job. One that has ended stays as it is.
    ///
    /// # Errors
    /// When the platform cannot be reached or does not know the job.
    pub async fn cancel(&self) -> Result<()> {
        match &self.place {
            Place::InProcess { task, ended } => {
                if ended.set(JobStatus::Cancelled).is_ok() {
                    task.abort();
                }
                Ok(())
            }
            Place::Remote { client, url, .. } => client.post_job(url, "cancel", &self.id).await,
        }
    }

    /// Puts a failed or timed-out job back into the queue, with its id and input.
    ///
    /// # Errors
    /// When the platform cannot be reached or refuses; always for a job in process.
    pub async fn retry(&self) -> Result<()> {
        match &self.place {
            Place::InProcess { .. } => Err(Error::new(
                ErrorKind::Refused,
                "a job in this process does not keep its input: call the function again",
            )),
            Place::Remote { client, url, .. } => client.post_job(url, "retry", &self.id).await,
        }
    }
}

impl<T: DeserializeOwned> JobHandle<T> {
    /// Waits for the job's end.
    ///
    /// # Errors
    /// What the function fails with, or why its result could not be had.
    pub async fn wait(self) -> Result<T> {
        match self.place {
            Place::InProcess { task, .. } => match task.await {
                Ok(outcome) => outcome,
                Err(error) if error.is_cancelled() => JobEnd::cancelled().outcome,
                Err(error) => Err(Error::new(ErrorKind::Panic, error.to_string())),
            },
            Place::Remote { client, url, function, .. } => {
                let job = client.wait(url, &self.id).await?;
                let output = output_of(job).map_err(|error| super::located(error, function, None))?;
                serde_json::from_str(output.get()).map_err(|error| {
                    let message = format!(
                        "the result of `{}` does not match its return type: {}",
                        function.stage(),
                        crate::wire::fault(&error)
                    );
                    Error::new(ErrorKind::Decode, message)
                })
            }
        }
    }
}
