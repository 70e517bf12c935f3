//! How the cloud says no, and what to do about it.
use std::time::Duration;

use serde::Deserialize;

use crate::target::{Problem, TargetError};

/// Why a call did not do what it should. Each names the call; none holds the key.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub(crate) enum RestError {
    #[error("Runpod does not know the key (401 on {operation})")]
    Unauthorized { operation: String },
    #[error("the key may not do this (403 on {operation}{})", told(detail))]
    Forbidden { operation: String, detail: String },
    #[error("Runpod has none of this (404 on {operation}{})", told(detail))]
    NotFound { operation: String, detail: String },
    #[error("Runpod refuses {operation} ({status}{}{})", told(detail), list(errors))]
    Refused { operation: String, status: u16, detail: String, errors: Vec<String> },
    #[error("Runpod is asked too often ({operation}); it wants a pause of {} s", pause.as_secs())]
    RateLimited { operation: String, pause: Duration },
    #[error("Runpod does not answer {operation}: {reason}")]
    Unreachable { operation: String, reason: String },
    #[error("Runpod's answer to {operation} is not what its document says: {reason}")]
    Malformed { operation: String, reason: String },
    #[error("`{variable}` is no address for Runpod: {reason}")]
    Address { variable: &'static str, reason: String },
}

fn told(detail: &str) -> String {
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

/// An error's text is shown; a page of HTML is not.
const LONGEST_DETAIL: usize = 500;

impl ProblemBody {
    pub(super) fn read(body: &[u8]) -> Self {
        let mut read: Self = serde_json::from_slice(body).unwrap_or_default();
        // With a property missing, the API calls all the others unknown: what is missing comes first and alone.
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
    /// Of an answer that is no success.
    pub(super) fn of_status(operation: &str, status: u16, body: &[u8]) -> Self {
        let (body, operation) = (ProblemBody::read(body), operation.to_owned());
        let detail = body.detail();
        match status {
            401 => Self::Unauthorized { operation },
            403 => Self::Forbidden { operation, detail },
            404 => Self::NotFound { operation, detail },
            500.. => Self::Unreachable {
                operation,
                reason: format!("it fails by itself ({status}{})", told(&detail)),
            },
            _ => Self::Refused { operation, status, detail, errors: body.errors },
        }
    }
}

impl From<RestError> for TargetError {
    fn from(error: RestError) -> Self {
        let message = error.to_string();
        let of = |problem| Self::new(problem, message);
        match error {
            RestError::Unauthorized { .. } => {
                of(Problem::Refused).hint("flash login asks for a key; RUNPOD_API_KEY and .env win over it")
            }
            RestError::Forbidden { .. } => of(Problem::Refused).hint(
                "give the key the right to read and write serverless endpoints, in the console's settings",
            ),
            RestError::NotFound { .. } => of(Problem::NotFound),
            RestError::Refused { .. } | RestError::Malformed { .. } => of(Problem::Failed),
            RestError::Address { .. } => {
                of(Problem::Refused).hint("https://api.runpod.io is the usual one: leave the variable out")
            }
            RestError::RateLimited { pause, .. } => {
                of(Problem::Unreachable).hint(format!("try again in {} s", pause.as_secs().max(1)))
            }
            RestError::Unreachable { .. } => of(Problem::Unreachable)
                .hint("see that this machine reaches the internet, then the same command again"),
        }
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
            assert!(!error.message.contains("html"), "{error}");
        }
    }
}
