//! The error of a call: its kind, whether a retry makes sense, and where it happened.
//!
//! Nothing is lost on the wire ([`WireError`]): a caller three hops away sees the same kind, message chain, worker
//! and request ID as the worker that failed.
use std::{error::Error as StdError, fmt};

use serde::{Deserialize, Serialize};

/// The result of a function, and of a call to it.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What kind of error it is, as far as a caller can act on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ErrorKind {
    /// The function returned an error.
    Handler,
    /// The function panicked; the message contains the location.
    Panic,
    /// The input does not match the function's arguments; [`Error::fields`] lists what is wrong.
    InvalidInput,
    /// The call's deadline or the worker type's execution timeout expired.
    Timeout,
    /// The job was cancelled.
    Cancelled,
    /// No worker could run the job: none could start, or every worker that took it died.
    NoWorker,
    /// The platform could not be reached, or its answer does not follow the protocol.
    Transport,
    /// The result does not match the function's return type.
    Decode,
    /// The function's result cannot be written as JSON.
    Encode,
    /// The function, job or endpoint does not exist.
    NotFound,
    /// The platform refused the call: the chain of calls is too deep, permission is missing, or the load is too high.
    Refused,
}

impl ErrorKind {
    /// Whether the same call may succeed if it is repeated later.
    pub const fn is_retryable(self) -> bool {
        matches!(self, Self::Timeout | Self::NoWorker | Self::Transport)
    }

    /// Its name on the wire.
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

/// An argument or field that is missing or wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct FieldError {
    /// The location, as a JSON pointer into the input; empty for the input itself.
    pub path: String,
    /// What is wrong and what was expected.
    pub message: String,
}

/// How many characters of a path and of a message are kept. The sender knows the value, and an error must not be as
/// long as the input.
const SHOWN: usize = 200;
/// Limit for the list of fields in an error's message; `fields` contains all of them.
const MAX_LIST_BYTES: usize = 2000;

impl FieldError {
    /// An error at `path`. Path and message are each cut at 200 characters.
    pub fn new(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self { path: cut(path.into()), message: cut(message.into()) }
    }
}

/// Cuts text of unknown origin at 200 characters.
pub fn cut(mut text: String) -> String {
    if let Some((end, _)) = text.char_indices().nth(SHOWN) {
        text.truncate(end);
        text.push('…');
    }
    text
}

/// The wire format of an [`Error`]: in the `error` string of a failed job and in HTTP error bodies.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct WireError {
    /// What went wrong.
    pub kind: ErrorKind,
    /// The outermost message.
    pub message: String,
    /// The causes, outermost first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub causes: Vec<String>,
    /// The function that failed, as `worker_type/function`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stage: Option<String>,
    /// The worker that failed.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "not_empty")]
    pub worker_id: Option<String>,
    /// The request that the call belonged to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// For [`ErrorKind::InvalidInput`]: the fields that are missing or wrong.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fields: Vec<FieldError>,
    /// The function says that the same call may succeed later; see [`WireError::is_retryable`].
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub retryable: bool,
    /// The HTTP status that the function chose; see [`WireError::http_status`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
}

/// Reads an optional ID; an empty one counts as missing.
pub(crate) fn not_empty<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<String>, D::Error> {
    Ok(Option::deserialize(deserializer)?.filter(|id: &String| !id.is_empty()))
}

impl WireError {
    /// An error of this kind with only `message`.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            causes: Vec::new(),
            stage: None,
            worker_id: None,
            request_id: None,
            fields: Vec::new(),
            retryable: false,
            status: None,
        }
    }

    /// The status of an HTTP answer with this error: the chosen one, else that of its kind. An input that a function
    /// further away refused is no fault of this request.
    pub fn http_status(&self) -> u16 {
        match (self.status.filter(|status| is_error_status(*status)), self.kind, &self.stage) {
            (Some(chosen), _, _) => chosen,
            (None, ErrorKind::InvalidInput, None) => 422,
            (None, ErrorKind::Timeout, _) => 504,
            (None, ErrorKind::NoWorker, _) => 503,
            (None, _, _) => 500,
        }
    }

    /// Whether the same call may succeed if it is repeated later: by its kind, or because the function says so. A
    /// panic and an invalid input never are.
    pub fn is_retryable(&self) -> bool {
        self.kind.is_retryable()
            || (self.retryable && !matches!(self.kind, ErrorKind::Panic | ErrorKind::InvalidInput))
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

const fn is_error_status(status: u16) -> bool {
    400 <= status && status <= 599
}

/// Why a function or a call to one failed.
///
/// Any `std::error::Error` converts with `?` and becomes [`ErrorKind::Handler`]. To allow that conversion, `Error`
/// itself does not implement `std::error::Error`. It converts into `Box<dyn std::error::Error + Send + Sync>`.
pub struct Error {
    // Boxed, so that a `Result<T>` stays as small as its `T`.
    wire: Box<WireError>,
}

impl Error {
    /// An error of this kind with only `message`.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        WireError::new(kind, message).into()
    }

    /// A failure of the function itself, when you have no error type for it.
    pub fn handler(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Handler, message)
    }

    /// A failure of the function itself that may not happen the next time, for example of a service that is busy. A
    /// function with `retries` runs again after it.
    ///
    /// ```
    /// # fn answer(status: u16) -> flash_sdk::Result<()> {
    /// if status == 503 {
    ///     return Err(flash_sdk::Error::retryable("the service is busy"));
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn retryable(message: impl Into<String>) -> Self {
        Self::handler(message).into_retryable()
    }

    /// The same error, after which a function with `retries` runs again. It has no effect on a panic or an invalid
    /// input.
    pub fn into_retryable(mut self) -> Self {
        self.wire.retryable = true;
        self
    }

    /// A failure of the function itself, with the HTTP status that clients get: `Error::status(409, "the name is taken")`.
    ///
    /// The status stays with the error through other functions, up to the client of a route or of `run_sync`. It is one
    /// from 400 to 599; any other number counts as 500.
    pub fn status(status: u16, message: impl Into<String>) -> Self {
        let mut wire = WireError::new(ErrorKind::Handler, message);
        wire.status = Some(if is_error_status(status) { status } else { 500 });
        wire.into()
    }

    /// Converts `error` with the messages of its sources. Use it for `anyhow::Error` and other types that contain an
    /// error without implementing the trait. An [`Error`] that was converted before keeps its kind.
    ///
    /// ```
    /// # fn load() -> Result<(), Box<dyn std::error::Error>> { Ok(()) }
    /// # fn run() -> flash_sdk::Result<()> {
    /// load().map_err(|error| flash_sdk::Error::from_chain(&*error))?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn from_chain(error: &(dyn StdError + 'static)) -> Self {
        if let Some(StandardError(ours)) = error.downcast_ref() {
            return WireError::clone(&ours.wire).into();
        }
        let mut wire = WireError::new(ErrorKind::Handler, error.to_string());
        let mut source = error.source();
        while let Some(cause) = source {
            wire.causes.push(cause.to_string());
            source = cause.source();
        }
        wire.into()
    }

    /// An input that has the right type but that the function cannot use. `path` is a JSON pointer.
    ///
    /// A route answers with 422; a job fails with this error.
    pub fn invalid_input(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self::invalid_fields(vec![FieldError { path: path.into(), message: message.into() }])
    }

    /// Like [`Error::invalid_input`], for several fields at once.
    pub fn invalid_fields(fields: Vec<FieldError>) -> Self {
        let list: Vec<String> = fields
            .iter()
            .map(|field| match field.path.as_str() {
                "" => field.message.clone(),
                path => format!("`{}`: {}", path.trim_start_matches('/'), field.message),
            })
            .collect();
        let mut message = String::new();
        for (index, finding) in list.iter().enumerate() {
            if message.len() + finding.len() > MAX_LIST_BYTES && index > 0 {
                message.push_str(&format!("; and {} more", list.len() - index));
                break;
            }
            message.push_str(if index > 0 { "; " } else { "" });
            message.push_str(finding);
        }
        let mut wire = WireError::new(ErrorKind::InvalidInput, message);
        wire.fields = fields;
        wire.into()
    }

    /// What kind of error it is, as far as a caller can act on it.
    pub fn kind(&self) -> ErrorKind {
        self.wire.kind
    }

    /// Whether the same call may succeed if it is repeated later.
    pub fn is_retryable(&self) -> bool {
        self.wire.is_retryable()
    }

    /// The outermost message, without its causes.
    pub fn message(&self) -> &str {
        &self.wire.message
    }

    /// The causes, outermost first.
    pub fn causes(&self) -> &[String] {
        &self.wire.causes
    }

    /// The function that failed, as `worker_type/function`; `None` when it failed in this process.
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

    /// For [`ErrorKind::InvalidInput`]: the fields that are missing or wrong.
    pub fn fields(&self) -> &[FieldError] {
        &self.wire.fields
    }

    /// The HTTP status that the function chose with [`Error::status`].
    pub fn status_code(&self) -> Option<u16> {
        self.wire.status
    }

    /// The wire format.
    pub fn to_wire(&self) -> &WireError {
        &self.wire
    }

    /// Converts into the wire format, so that the caller can add where it happened.
    pub fn into_wire(self) -> WireError {
        *self.wire
    }

    /// Puts `message` in front. The previous message becomes the first cause.
    pub fn context(mut self, message: impl Into<String>) -> Self {
        let below = std::mem::replace(&mut self.wire.message, message.into());
        self.wire.causes.insert(0, below);
        self
    }
}

/// Adds context to a failure: for a `Result` whose error converts into [`Error`], and for an `Option`.
///
/// ```
/// use flash_sdk::{Result, ResultExt as _};
///
/// fn labels(path: &str) -> Result<String> {
///     std::fs::read_to_string(path).with_context(|| format!("could not read the labels at {path}"))
/// }
/// # assert!(labels("/no/such/file").unwrap_err().message().starts_with("could not read"));
/// ```
pub trait ResultExt<T> {
    /// Puts `message` in front of the error, which keeps its kind.
    ///
    /// # Errors
    /// The original error with `message` in front; for `None`, `message` as [`ErrorKind::Handler`].
    fn context(self, message: impl Into<String>) -> Result<T>;

    /// Like [`context`](Self::context), but builds the message only on failure.
    ///
    /// # Errors
    /// See [`context`](Self::context).
    fn with_context<M: Into<String>>(self, message: impl FnOnce() -> M) -> Result<T>;

    /// Says that the same call may succeed later, so that a function with `retries` runs again:
    /// `fetch(url).await.retryable()?`.
    ///
    /// # Errors
    /// The original error, which is retryable now; see [`Error::into_retryable`].
    fn retryable(self) -> Result<T>;
}

impl<T, E: Into<Error>> ResultExt<T> for std::result::Result<T, E> {
    fn context(self, message: impl Into<String>) -> Result<T> {
        self.with_context(|| message)
    }

    fn with_context<M: Into<String>>(self, message: impl FnOnce() -> M) -> Result<T> {
        self.map_err(|error| error.into().context(message()))
    }

    fn retryable(self) -> Result<T> {
        self.map_err(|error| error.into().into_retryable())
    }
}

impl<T> ResultExt<T> for Option<T> {
    fn context(self, message: impl Into<String>) -> Result<T> {
        self.with_context(|| message)
    }

    fn with_context<M: Into<String>>(self, message: impl FnOnce() -> M) -> Result<T> {
        self.ok_or_else(|| Error::handler(message()))
    }

    fn retryable(self) -> Result<T> {
        self.ok_or_else(|| Error::retryable("there is no value"))
    }
}

impl From<WireError> for Error {
    fn from(wire: WireError) -> Self {
        Self { wire: Box::new(wire) }
    }
}

impl<E: StdError + Send + Sync + 'static> From<E> for Error {
    fn from(error: E) -> Self {
        Self::from_chain(&error)
    }
}

impl From<Error> for Box<dyn StdError + Send + Sync> {
    fn from(error: Error) -> Self {
        Box::new(StandardError(error))
    }
}

/// An [`Error`] as a `std::error::Error`.
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
    /// Writes the outermost message; with `{:#}`, the whole chain.
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
    fn a_chosen_status_stays_with_the_error_and_is_one_of_errors() {
        let error = Error::status(409, "the name is taken").context("could not sign up");
        let text = serde_json::to_string(error.to_wire()).unwrap();
        let mut back = serde_json::from_str::<WireError>(&text).unwrap();
        back.stage = Some("users/sign_up".into());
        assert_eq!((back.http_status(), Error::from(back).status_code()), (409, Some(409)));
        for other in [0, 200, 399, 600] {
            assert_eq!(Error::status(other, "").status_code(), Some(500), "{other}");
        }
        let forged: WireError =
            serde_json::from_str(r#"{"kind":"timeout","message":"","status":200}"#).unwrap();
        assert_eq!(forged.http_status(), 504);
    }

    #[test]
    fn a_worker_without_a_name_is_no_worker() {
        let wire: WireError =
            serde_json::from_str(r#"{"kind":"cancelled","message":"","worker_id":""}"#).unwrap();
        assert_eq!(serde_json::to_string(&wire).unwrap(), r#"{"kind":"cancelled","message":""}"#);
        let job = r#"{"id":"a","status":"CANCELLED","workerId":""}"#;
        let job: crate::wire::job::JobObject = serde_json::from_str(job).unwrap();
        assert_eq!(serde_json::to_string(&job).unwrap(), r#"{"id":"a","status":"CANCELLED"}"#);
    }

    #[test]
    fn context_goes_in_front_of_whatever_failed() {
        let failed: std::result::Result<u8, _> = "x".parse::<u8>();
        let error = failed.context("could not read the size").unwrap_err();
        assert_eq!(format!("{error:#}"), "could not read the size: invalid digit found in string");
        let ours: Result<()> = Err(Error::invalid_input("/text", "too long"));
        let error = ours.with_context(|| format!("in line {}", 7)).unwrap_err();
        assert_eq!((error.kind(), error.message()), (ErrorKind::InvalidInput, "in line 7"));
        assert_eq!(None::<u8>.context("there is no model").unwrap_err().message(), "there is no model");
        assert_eq!(Some(1).with_context(|| -> String { unreachable!("nothing failed") }).unwrap(), 1);
    }

    #[test]
    fn only_failures_of_the_way_are_retryable() {
        assert!(Error::new(ErrorKind::Transport, "").is_retryable());
        assert!(!Error::handler("").is_retryable());
        assert!(!Error::new(ErrorKind::InvalidInput, "").is_retryable());
    }

    #[test]
    fn a_function_says_that_its_error_is_retryable_and_the_wire_keeps_it() {
        let sent = serde_json::to_string(Error::retryable("busy").context("no answer").to_wire()).unwrap();
        let read: WireError = serde_json::from_str(&sent).unwrap();
        assert!(read.is_retryable() && read.kind == ErrorKind::Handler, "{sent}");
        for kind in [ErrorKind::Panic, ErrorKind::InvalidInput] {
            assert!(!Error::new(kind, "").into_retryable().is_retryable(), "{kind}");
        }
        let older: WireError = serde_json::from_str(r#"{"kind":"handler","message":"m"}"#).unwrap();
        assert!(!older.is_retryable());
        let failed: std::result::Result<(), fmt::Error> = Err(fmt::Error);
        assert!(failed.retryable().unwrap_err().is_retryable());
    }

    #[test]
    fn context_goes_in_front() {
        let error = Error::handler("no such file").context("could not load the model");
        assert_eq!(error.to_string(), "could not load the model");
        assert_eq!(format!("{error:#}"), "could not load the model: no such file");
    }
}
