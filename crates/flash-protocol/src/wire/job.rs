//! Job objects: the answers of `run`, `runsync` and `status`, and what a worker posts.
use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

use super::RawJson;
use crate::error::{ErrorKind, FieldError, Result, WireError};

/// The status of a job. Names are as on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum JobStatus {
    /// Accepted, but not given to a worker yet.
    InQueue,
    /// Given to a worker. Runpod's documentation also lists `RUNNING`, which is read as the same and never sent.
    #[serde(alias = "RUNNING")]
    InProgress,
    /// The worker posted a result without an error.
    Completed,
    /// The worker posted an error, or died too often.
    Failed,
    /// A client cancelled it.
    Cancelled,
    /// It exceeded its execution timeout, or expired in the queue.
    TimedOut,
}

impl JobStatus {
    /// Whether the status is final.
    pub const fn is_final(self) -> bool {
        !matches!(self, Self::InQueue | Self::InProgress)
    }

    /// The name on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InQueue => "IN_QUEUE",
            Self::InProgress => "IN_PROGRESS",
            Self::Completed => "COMPLETED",
            Self::Failed => "FAILED",
            Self::Cancelled => "CANCELLED",
            Self::TimedOut => "TIMED_OUT",
        }
    }
}

/// A job as clients see it. Times are milliseconds.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct JobObject {
    /// The cost of all attempts so far, in billionths of a dollar; only from the Flash platform.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost_nano_dollars: Option<u64>,
    /// Time between submission and the pickup of the latest attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delay_time: Option<u64>,
    /// The failure; JSON text (see [`ErrorText`]) when a worker reported it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Time that the latest attempt ran.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub execution_time: Option<u64>,
    /// The job's id.
    pub id: String,
    /// While it waits to run again after an attempt that failed; only from the Flash platform.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_attempt: Option<NextAttempt>,
    /// The result, or the latest progress while it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<RawJson>,
    /// Attempts beyond the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retries: Option<u32>,
    /// The status.
    pub status: JobStatus,
    /// The worker of the latest attempt. If a job ended without a worker, the ID is empty on the wire, as on Runpod,
    /// and `None` when read.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "crate::error::not_empty")]
    pub worker_id: Option<String>,
}

impl JobObject {
    /// A job of which nothing else is known.
    pub fn new(id: impl Into<String>, status: JobStatus) -> Self {
        Self {
            cost_nano_dollars: None,
            delay_time: None,
            error: None,
            execution_time: None,
            id: id.into(),
            next_attempt: None,
            output: None,
            retries: None,
            status,
            worker_id: None,
        }
    }

    /// Why the job has no result; `None` if it has one or has not ended.
    pub fn failure(&self) -> Option<WireError> {
        match self.status {
            JobStatus::Failed => Some(ErrorText::parse(self.error.as_deref().unwrap_or("no reason given"))),
            JobStatus::TimedOut => {
                let message = self.error.as_deref().unwrap_or("the job timed out");
                Some(WireError { kind: ErrorKind::Timeout, ..ErrorText::parse(message) })
            }
            JobStatus::Cancelled => Some(WireError::new(ErrorKind::Cancelled, "the job was cancelled")),
            JobStatus::Completed | JobStatus::InQueue | JobStatus::InProgress => None,
        }
    }

    /// The output of a job in its final state.
    ///
    /// # Errors
    /// Its failure, with the worker; [`ErrorKind::Transport`] if it has not ended.
    pub fn into_output(self) -> Result<RawJson> {
        if self.status == JobStatus::Completed {
            return Ok(self.output.unwrap_or_else(super::null));
        }
        let mut failure = self.failure().unwrap_or_else(|| {
            WireError::new(ErrorKind::Transport, format!("job `{}` has not ended", self.id))
        });
        failure.worker_id = failure.worker_id.or(self.worker_id);
        Err(failure.into())
    }
}

/// A job's next attempt, after one that failed with a retryable error.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NextAttempt {
    /// Which attempt it will be, from 2.
    pub attempt: u32,
    /// Milliseconds between the failure and the next attempt.
    pub wait_ms: u64,
    /// The message of the attempt that failed, in one line of at most 4096 bytes.
    pub last_error: String,
}

/// The answer of `stream`: the chunks of a job since the last answer.
#[derive(Debug, Clone, Deserialize)]
#[non_exhaustive]
pub struct JobChunks {
    /// The status of the job.
    pub status: JobStatus,
    /// The chunks, in order.
    #[serde(default)]
    pub stream: Vec<JobChunk>,
}

/// One chunk of a job.
#[derive(Debug, Clone, Deserialize)]
#[non_exhaustive]
pub struct JobChunk {
    /// The value.
    pub output: RawJson,
}

/// The body of `run` and `runsync`. Unknown top-level keys are discarded, as on Runpod.
#[derive(Debug, Deserialize)]
pub struct JobRequest {
    /// The function's input.
    pub input: Option<RawJson>,
    /// Limits of this job. `null` counts as missing, as everywhere in a request.
    #[serde(default, deserialize_with = "or_default")]
    pub policy: Policy,
    /// The webhook URL, called when the job ends.
    #[serde(default)]
    pub webhook: Option<String>,
    /// Where the worker should store large results. Passed on to the worker, never returned.
    #[serde(default, rename = "s3Config")]
    pub s3_config: Option<RawJson>,
}

/// Limits of one job, in milliseconds.
#[derive(Debug, Default, Clone, Copy, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase", default)]
pub struct Policy {
    /// How long it may run; by default, the worker type's execution timeout.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub execution_timeout: Option<u64>,
    /// How long it may take from submission to its end. After that it is deleted, even if it runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ttl: Option<u64>,
    /// Does not start a worker for this job.
    #[serde(skip_serializing_if = "is_false", deserialize_with = "or_default")]
    pub low_priority: bool,
}

impl Policy {
    /// The allowed execution timeouts in milliseconds, as the provider documents them.
    pub const EXECUTION_TIMEOUT: RangeInclusive<u64> = 5_000..=SEVEN_DAYS;
    /// The allowed times to live in milliseconds, as the provider documents them.
    pub const TTL: RangeInclusive<u64> = 10_000..=SEVEN_DAYS;

    /// Whether it limits nothing.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// Checks that both times are within their limits.
    ///
    /// # Errors
    /// The first that is not, by its path in a request.
    pub fn check(&self) -> Result<(), FieldError> {
        let times = [
            ("/policy/executionTimeout", self.execution_timeout, Self::EXECUTION_TIMEOUT),
            ("/policy/ttl", self.ttl, Self::TTL),
        ];
        for (path, given, allowed) in times {
            if let Some(given) = given.filter(|given| !allowed.contains(given)) {
                let (least, most) = allowed.into_inner();
                let message = format!("{given} is out of range, expected {least} to {most} milliseconds");
                return Err(FieldError::new(path, message));
            }
        }
        Ok(())
    }
}

const SEVEN_DAYS: u64 = 7 * 24 * 60 * 60 * 1000;

/// A job as a worker receives it. Other keys are ignored.
#[derive(Debug, Serialize, Deserialize)]
pub struct TakenJob {
    /// The job's id.
    pub id: String,
    /// The input; the platform may omit an empty one.
    #[serde(default)]
    pub input: Option<RawJson>,
}

/// What a worker posts when a job ends or makes progress.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct PostedResult {
    /// `IN_PROGRESS` marks a progress update; absent on a result.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<JobStatus>,
    /// The result or progress.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<RawJson>,
    /// The failure; other workers may post any JSON here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<serde_json::Value>,
    /// The worker asks to be replaced.
    #[serde(default, rename = "stopPod", skip_serializing_if = "is_false", deserialize_with = "or_default")]
    pub stop_pod: bool,
}

/// Reads `null` as the default, because some clients send every field.
fn or_default<'de, D: serde::Deserializer<'de>, T: Default + Deserialize<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_false(flag: &bool) -> bool {
    !*flag
}

/// The text in a failed job's `error`: the six keys of Runpod's Python worker, plus one of Flash.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ErrorText {
    /// Kind or class of the error.
    pub error_type: String,
    /// The message chain in one line.
    pub error_message: String,
    /// The location, if known.
    #[serde(default)]
    pub error_traceback: String,
    /// Host of the worker.
    #[serde(default)]
    pub hostname: String,
    /// The worker.
    #[serde(default)]
    pub worker_id: String,
    /// The version of the SDK that wrote it.
    #[serde(default)]
    pub runpod_version: String,
    /// The complete error, from a Flash worker.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flash: Option<WireError>,
}

impl ErrorText {
    /// Creates the text for a Flash error.
    pub fn of(error: &WireError, hostname: &str) -> Self {
        Self {
            error_type: error.kind.as_str().to_owned(),
            error_message: error.chain(),
            error_traceback: error.stage.clone().unwrap_or_default(),
            hostname: hostname.to_owned(),
            worker_id: error.worker_id.clone().unwrap_or_else(|| "unknown".to_owned()),
            runpod_version: concat!("flash-", env!("CARGO_PKG_VERSION")).to_owned(),
            flash: Some(error.clone()),
        }
    }

    /// The JSON text for a job's `error`.
    pub fn to_text(&self) -> String {
        serde_json::to_string(self).expect("strings and enums always serialise")
    }

    /// Reads a job's `error`: a complete Flash error, the message of a Python worker, or the plain text.
    pub fn parse(text: &str) -> WireError {
        match serde_json::from_str::<Self>(text) {
            Ok(Self { flash: Some(error), .. }) => error,
            Ok(Self { error_message, worker_id, .. }) => {
                let mut error = WireError::new(ErrorKind::Handler, error_message);
                error.worker_id = Some(worker_id).filter(|id| !id.is_empty() && id != "unknown");
                error
            }
            Err(_) => WireError::new(ErrorKind::Handler, text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_names_are_those_of_the_api() {
        for (status, name) in [(JobStatus::InQueue, "\"IN_QUEUE\""), (JobStatus::TimedOut, "\"TIMED_OUT\"")] {
            assert_eq!(serde_json::to_string(&status).unwrap(), name);
            assert_eq!(format!("\"{}\"", status.as_str()), name);
        }
        assert_eq!(serde_json::from_str::<JobStatus>("\"RUNNING\"").unwrap(), JobStatus::InProgress);
    }

    #[test]
    fn null_says_as_much_as_nothing_in_a_request() {
        let nothing: JobRequest = serde_json::from_str(r#"{"input":{}}"#).unwrap();
        for text in [
            r#"{"input":{},"policy":null,"webhook":null,"s3Config":null}"#,
            r#"{"input":{},"policy":{"executionTimeout":null,"ttl":null,"lowPriority":null}}"#,
        ] {
            let request: JobRequest = serde_json::from_str(text).unwrap();
            assert_eq!(request.policy, nothing.policy, "{text}");
            assert!(request.webhook.is_none() && request.s3_config.is_none(), "{text}");
        }
        assert!(serde_json::from_str::<JobRequest>(r#"{"input":{},"policy":{"lowPriority":1}}"#).is_err());
        let posted: PostedResult =
            serde_json::from_str(r#"{"status":null,"output":{},"error":null,"stopPod":null}"#).unwrap();
        assert!(posted.status.is_none() && posted.error.is_none() && !posted.stop_pod);
    }

    #[test]
    fn a_job_has_an_output_a_failure_or_no_end_yet() {
        let output = |text: &str| serde_json::from_str::<JobObject>(text).unwrap().into_output();
        assert_eq!(output(r#"{"id":"j","status":"COMPLETED"}"#).unwrap().get(), "null");
        for (text, kind, message) in [
            (r#"{"id":"j","status":"FAILED","workerId":"w1"}"#, ErrorKind::Handler, "no reason given"),
            (r#"{"id":"j","status":"TIMED_OUT","error":"late"}"#, ErrorKind::Timeout, "late"),
            (r#"{"id":"j","status":"CANCELLED"}"#, ErrorKind::Cancelled, "the job was cancelled"),
            (
                r#"{"id":"j","status":"IN_PROGRESS","output":1}"#,
                ErrorKind::Transport,
                "job `j` has not ended",
            ),
        ] {
            let error = output(text).unwrap_err();
            assert_eq!((error.kind(), error.message()), (kind, message), "{text}");
        }
        assert_eq!(
            output(r#"{"id":"j","status":"FAILED","workerId":"w1"}"#).unwrap_err().worker_id(),
            Some("w1")
        );
    }

    #[test]
    fn an_error_text_has_the_six_keys_and_leads_back_to_the_error() {
        let mut error = WireError::new(ErrorKind::Panic, "boom at src/main.rs:3:5");
        error.worker_id = Some("w1".into());
        let text = ErrorText::of(&error, "host").to_text();
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        for key in
            ["error_type", "error_message", "error_traceback", "hostname", "worker_id", "runpod_version"]
        {
            assert!(value[key].is_string(), "{key}");
        }
        assert_eq!(ErrorText::parse(&text), error);
    }

    #[test]
    fn a_python_workers_error_and_a_bare_one_are_read() {
        let python = r#"{"error_type":"<class 'ValueError'>","error_message":"boom","worker_id":"p1"}"#;
        let error = ErrorText::parse(python);
        assert_eq!((error.message.as_str(), error.worker_id.as_deref()), ("boom", Some("p1")));
        assert_eq!(
            ErrorText::parse("job timed out after 1 retries").message,
            "job timed out after 1 retries"
        );
    }
}
