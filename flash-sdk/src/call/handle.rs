//! A handle to a job that was handed over without waiting for it.
use std::marker::PhantomData;

use serde::de::DeserializeOwned;
use tokio::task::{AbortHandle, JoinHandle};

use super::{http::Client, output_of};
use crate::{Error, ErrorKind, Result, registry::Function, wire::job::JobStatus};

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
        abort: AbortHandle,
    },
    Remote {
        client: &'static Client,
        url: &'static str,
        function: &'static Function,
        result: PhantomData<fn() -> T>,
    },
}

impl<T> JobHandle<T> {
    pub(crate) fn in_process(task: JoinHandle<Result<T>>) -> Self {
        let abort = task.abort_handle();
        let id = format!("local-{}", uuid::Uuid::new_v4());
        Self { id, place: Place::InProcess { task, abort } }
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
            Place::InProcess { abort, .. } if abort.is_finished() => Ok(JobStatus::Completed),
            Place::InProcess { .. } => Ok(JobStatus::InProgress),
            Place::Remote { client, url, .. } => Ok(client.status(url, &self.id).await?.status),
        }
    }

    /// Asks the platform to cancel the job. One that has ended stays as it is.
    ///
    /// # Errors
    /// When the platform cannot be reached or does not know the job.
    pub async fn cancel(&self) -> Result<()> {
        match &self.place {
            Place::InProcess { abort, .. } => {
                abort.abort();
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
            Place::InProcess { .. } => {
                Err(Error::new(ErrorKind::Refused, "a job in process keeps no input to run again: call anew"))
            }
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
                Err(error) if error.is_cancelled() => {
                    Err(Error::new(ErrorKind::Cancelled, "the job was cancelled"))
                }
                Err(error) => Err(Error::new(ErrorKind::Panic, error.to_string())),
            },
            Place::Remote { client, url, function, .. } => {
                let job = client.wait(url, &self.id).await?;
                let output = output_of(job).map_err(|error| super::located(error, function, None))?;
                serde_json::from_str(output.get()).map_err(|error| {
                    let message = format!(
                        "the result of `{}` is of another type: {}",
                        function.stage(),
                        crate::wire::fault(&error)
                    );
                    Error::new(ErrorKind::Decode, message)
                })
            }
        }
    }
}
