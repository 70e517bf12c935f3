//! The API's errors, and what to do about them.
use std::time::Duration;

use serde::Deserialize;

use flash_target::{Problem, TargetError};

/// Why a call failed. Each names the call; none contains the key.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the message of each variant says what it is")]
pub enum RestError {
    #[error("Runpod rejected the key (401 on {operation})")]
    Unauthorized { operation: String },
    #[error("the key lacks permission (403 on {operation}{})", with_detail(detail))]
    Forbidden { operation: String, detail: String },
    #[error("not found at Runpod (404 on {operation}{})", with_detail(detail))]
    NotFound { operation: String, detail: String },
    #[error("Runpod rejected {operation} ({status}{}{})", with_detail(detail), list(errors))]
    Refused { operation: String, status: u16, detail: String, errors: Vec<String> },
    #[error("Runpod's rate limit was reached ({operation}); it asks for a pause of {} s", pause.as_secs())]
    RateLimited { operation: String, pause: Duration },
    #[error("Runpod did not answer {operation}")]
    Unreachable { operation: String, source: Source },
    #[error("Runpod's answer to {operation} does not match its API description")]
    Malformed { operation: String, source: Source },
    #[error("`{variable}` is not a valid address for Runpod")]
    Address { variable: &'static str, source: Source },
}

/// The cause of a [`RestError`].
pub(crate) type Source = Box<dyn std::error::Error + Send + Sync>;

fn with_detail(detail: &str) -> String {
    if detail.is_empty() { String::new() } else { format!(": {detail}") }
}

fn list(errors: &[String]) -> String {
    errors.iter().map(|error| format!("\n  {error}")).collect()
}

/// The body of an error: `application/problem+json`, and older forms.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ProblemBody {
    pub title: String,
    pub detail: String,
    pub error: String,
    pub errors: Vec<String>,
}

/// The error's text is shown, but not a page of HTML.
const LONGEST_DETAIL: usize = 500;

impl ProblemBody {
    pub(super) fn read(body: &[u8]) -> Self {
        let mut read: Self = serde_json::from_slice(body).unwrap_or_default();
        // If a property is missing, the API reports all others as unknown: show only what is missing.
        if read.errors.iter().any(|error| error.contains("missing propert")) {
            read.errors.retain(|error| error.contains("missing propert"));
        }
        read
    }

    fn detail(&self) -> String {
        let texts = [&self.detail, &self.error, &self.title];
        let text = texts.into_iter().find(|text| !text.is_empty()).cloned().unwrap_or_default();
        text.chars().take(LONGEST_DETAIL).collect()
    }
}

impl RestError {
    /// The error of an unsuccessful answer.
    pub(super) fn of_status(operation: &str, status: u16, body: &[u8]) -> Self {
        let (body, operation) = (ProblemBody::read(body), operation.to_owned());
        let detail = body.detail();
        match status {
            401 => Self::Unauthorized { operation },
            403 => Self::Forbidden { operation, detail },
            404 => Self::NotFound { operation, detail },
            500.. => Self::Unreachable {
                operation,
                source: format!("it has an internal error ({status}{})", with_detail(&detail)).into(),
            },
            _ => Self::Refused { operation, status, detail, errors: body.errors },
        }
    }
}

impl From<RestError> for TargetError {
    fn from(error: RestError) -> Self {
        let (problem, hint) = match &error {
            RestError::Unauthorized { .. } => {
                (Problem::Refused, "store a valid key: flash login; RUNPOD_API_KEY and .env override it")
            }
            RestError::Forbidden { .. } => (
                Problem::Refused,
                "allow the key to read and write serverless endpoints, in the console's settings",
            ),
            RestError::NotFound { .. } => return Self::of(Problem::NotFound, error),
            RestError::Refused { .. } | RestError::Malformed { .. } => {
                return Self::of(Problem::Failed, error);
            }
            RestError::Address { .. } => {
                (Problem::Refused, "unset the variable to use the default, https://api.runpod.io")
            }
            RestError::RateLimited { pause, .. } => {
                let hint = format!("try again in {} s", pause.as_secs().max(1));
                return Self::of(Problem::Unreachable, error).hint(hint);
            }
            RestError::Unreachable { .. } => {
                (Problem::Unreachable, "check this machine's internet connection, then run the command again")
            }
        };
        Self::of(problem, error).hint(hint)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_told_and_not_what_is_called_unknown_for_it() {
        let body = br#"{"title":"Unprocessable Entity","status":422,"detail":"Request validation failed.",
            "errors":["$: missing property 'image'","$: additional properties 'name' not allowed"]}"#;
        let error = RestError::of_status("POST /v2/serverless", 422, body);
        let text = error.to_string();
        assert!(text.contains("missing property 'image'") && !text.contains("additional"), "{text}");
        assert!(text.contains("POST /v2/serverless") && text.contains("422"), "{text}");
    }

    #[test]
    fn each_refusal_says_what_to_do_next() {
        for (status, problem) in
            [(401, Problem::Refused), (403, Problem::Refused), (503, Problem::Unreachable)]
        {
            let error = TargetError::from(RestError::of_status("GET /v2/serverless", status, b"<html>"));
            assert_eq!(error.problem, problem);
            assert!(error.hint.is_some(), "{status}");
            assert!(!error.text().contains("html"), "{error}");
        }
    }
}
