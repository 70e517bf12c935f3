//! The error of every call: what kind it is, whether a retry makes sense, and where it happened.
//!
//! It survives the wire whole ([`WireError`]): a caller three hops away reads the same kind, message
//! chain, worker and request id as the worker that failed.
use std::{error::Error as StdError, fmt};

use serde::{Deserialize, Serialize};

/// The result of a function and of a call to one.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, as far as a caller can act on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ErrorKind {
    /// The function returned an error.
    Handler,
    /// The function panicked; the message holds the place.
    Panic,
    /// The input does not fit the function's arguments; [`Error::fields`] names them.
    InvalidInput,
    /// The deadline of the call or the execution timeout of the worker type passed.
    Timeout,
    /// The job was cancelled.
    Cancelled,
    /// No worker could take the job: none starts, or each one that took it died.
    NoWorker,
    /// The platform could not be reached, or answered with something other than the protocol.
    Transport,
    /// A result arrived that is not of the function's return type.
    Decode,
    /// The function's result cannot be written as JSON.
    Encode,
    /// The function, job or endpoint does not exist.
    NotFound,
    /// The platform refuses the call: too deep a chain, no permission, too much load.
    Refused,
}

impl ErrorKind {
    /// Whether the same call may succeed later without a change by the caller.
    pub const fn is_retryable(self) -> bool {
        matches!(self, Self::Timeout | Self::NoWorker | Self::Transport)
    }

    /// The name on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Handler => "handler",
            Self::Panic => "panic",
            Self::InvalidInput => "invalid_input",
            Self::Timeout => "timeout",
            Self::Cancelled => "cancelled",
            Self::NoWorker => "no_worker",
            Self::Transport => "transport",
            Self::Decode => "decode",
            Self::Encode => "encode",
            Self::NotFound => "not_found",
            Self::Refused => "refused",
        }
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One argument or field that does not fit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FieldError {
    /// Where, as a JSON pointer into the input; empty for the input itself.
    pub path: String,
    /// What is wrong and what was expected.
    pub message: String,
}

/// An [`Error`] as it travels: inside a failed job's `error` string and in HTTP error bodies.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WireError {
    /// What went wrong.
    pub kind: ErrorKind,
    /// The outermost message.
    pub message: String,
    /// The messages below it, outermost first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub causes: Vec<String>,
    /// The function that failed, as `worker_type/function`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stage: Option<String>,
    /// The worker that failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worker_id: Option<String>,
    /// The request that the call belonged to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// For [`ErrorKind::InvalidInput`]: each field that does not fit.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fields: Vec<FieldError>,
}

impl WireError {
    /// An error of this kind that says only `message`.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            causes: Vec::new(),
            stage: None,
            worker_id: None,
            request_id: None,
            fields: Vec::new(),
        }
    }

    /// The message and its causes in one line.
    pub fn chain(&self) -> String {
        let mut line = self.message.clone();
        for cause in &self.causes {
            line.push_str(": ");
            line.push_str(cause);
        }
        line
    }
}

/// Why a function or a call to one failed.
///
/// Any `std::error::Error` converts with `?` and becomes [`ErrorKind::Handler`]. For that conversion
/// `Error` itself does not implement `std::error::Error`; `Box<dyn std::error::Error + Send + Sync>`
/// converts from it.
pub struct Error {
    // Boxed, so that a `Result<T>` stays as small as its `T`.
    wire: Box<WireError>,
}

impl Error {
    /// An error of this kind that says only `message`.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        WireError::new(kind, message).into()
    }

    /// A failure of the function itself, for a condition that no error type stands for.
    pub fn handler(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Handler, message)
    }

    /// An input that the function cannot use although its type fits; `path` is a JSON pointer.
    ///
    /// A route answers it with 422, a job fails with it.
    pub fn invalid_input(path: impl Into<String>, message: impl Into<String>) -> Self {
        let field = FieldError { path: path.into(), message: message.into() };
        Self::invalid_fields(vec![field])
    }

    /// As [`Error::invalid_input`], for several fields at once.
    pub fn invalid_fields(fields: Vec<FieldError>) -> Self {
        let list: Vec<String> = fields
            .iter()
            .map(|field| match field.path.as_str() {
                "" => field.message.clone(),
                path => format!("`{}`: {}", path.trim_start_matches('/'), field.message),
            })
            .collect();
        let mut wire = WireError::new(ErrorKind::InvalidInput, list.join("; "));
        wire.fields = fields;
        wire.into()
    }

    /// What went wrong, as far as a caller can act on it.
    pub fn kind(&self) -> ErrorKind {
        self.wire.kind
    }

    /// Whether the same call may succeed later without a change by the caller.
    pub fn is_retryable(&self) -> bool {
        self.wire.kind.is_retryable()
    }

    /// The outermost message, without its causes.
    pub fn message(&self) -> &str {
        &self.wire.message
    }

    /// The messages below it, outermost first.
    pub fn causes(&self) -> &[String] {
        &self.wire.causes
    }

    /// The function that failed, as `worker_type/function`; absent when it failed in this process.
    pub fn stage(&self) -> Option<&str> {
        self.wire.stage.as_deref()
    }

    /// The worker that failed.
    pub fn worker_id(&self) -> Option<&str> {
        self.wire.worker_id.as_deref()
    }

    /// The request that the call belonged to.
    pub fn request_id(&self) -> Option<&str> {
        self.wire.request_id.as_deref()
    }

    /// For [`ErrorKind::InvalidInput`]: each field that does not fit.
    pub fn fields(&self) -> &[FieldError] {
        &self.wire.fields
    }

    /// The form that travels.
    pub fn to_wire(&self) -> &WireError {
        &self.wire
    }

    /// The form that travels, to be completed with where it happened.
    pub fn into_wire(self) -> WireError {
        *self.wire
    }

    /// Puts `message` in front; what stood there becomes the first cause.
    pub fn context(mut self, message: impl Into<String>) -> Self {
        let below = std::mem::replace(&mut self.wire.message, message.into());
        self.wire.causes.insert(0, below);
        self
    }
}

impl From<WireError> for Error {
    fn from(wire: WireError) -> Self {
        Self { wire: Box::new(wire) }
    }
}

impl<E: StdError + Send + Sync + 'static> From<E> for Error {
    fn from(error: E) -> Self {
        let mut wire = WireError::new(ErrorKind::Handler, error.to_string());
        let mut source = error.source();
        while let Some(cause) = source {
            wire.causes.push(cause.to_string());
            source = cause.source();
        }
        wire.into()
    }
}

impl From<Error> for Box<dyn StdError + Send + Sync> {
    fn from(error: Error) -> Self {
        Box::new(StandardError(error))
    }
}

/// [`Error`] for places that want a `std::error::Error`.
struct StandardError(Error);

impl StdError for StandardError {}

impl fmt::Display for StandardError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.wire.chain())
    }
}

impl fmt::Debug for StandardError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl fmt::Display for Error {
    /// The outermost message; with `{:#}` the whole chain.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if f.alternate() { f.write_str(&self.wire.chain()) } else { f.write_str(&self.wire.message) }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Error").field(&self.wire).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_standard_error_converts_with_its_chain() {
        fn fails() -> Result<()> {
            let text = String::from_utf8(vec![0xff]).map_err(std::io::Error::other)?;
            panic!("{text} is not UTF-8")
        }
        let error = fails().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Handler);
        assert!(format!("{error:#}").contains("invalid utf-8"), "{error:#}");
    }

    #[test]
    fn an_error_survives_the_wire() {
        let mut wire = Error::invalid_input("/text", "3 to 10000 characters expected").into_wire();
        wire.worker_id = Some("w1".into());
        wire.request_id = Some("r1".into());
        wire.causes.push("below".into());
        let text = serde_json::to_string(&wire).unwrap();
        let back: Error = serde_json::from_str::<WireError>(&text).unwrap().into();
        assert_eq!(back.to_wire(), &wire);
        assert_eq!(back.message(), "`text`: 3 to 10000 characters expected");
    }

    #[test]
    fn only_failures_of_the_way_are_retryable() {
        assert!(Error::new(ErrorKind::Transport, "").is_retryable());
        assert!(!Error::handler("").is_retryable());
        assert!(!Error::new(ErrorKind::InvalidInput, "").is_retryable());
    }

    #[test]
    fn context_goes_in_front() {
        let error = Error::handler("no such file").context("could not load the model");
        assert_eq!(error.to_string(), "could not load the model");
        assert_eq!(format!("{error:#}"), "could not load the model: no such file");
    }
}
