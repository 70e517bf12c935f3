//! Refuses JSON that is nested deeper than a worker can decode.
use flash_protocol::{
    ErrorKind, WireError,
    wire::{MAX_NESTING, Nesting, RawJson, job::ErrorText},
};

use super::error::Refusal;
use crate::{large_input::work_on, queue::Outcome, worker_id::WorkerId};

/// Refuses a body whose input, `around` levels within it, is nested too deeply.
///
/// # Errors
/// 400.
pub(super) fn check(body: &[u8], around: usize) -> Result<(), Refusal> {
    if Nesting::of(body).is_too_deep_within(around) { Err(too_deep()) } else { Ok(()) }
}

/// The answer to a body that is nested too deeply.
pub(super) fn too_deep() -> Refusal {
    Refusal::bad_request(unreadable("body"))
}

/// Whether a worker sent JSON that is nested too deeply.
pub(super) fn is_too_deep(output: &RawJson) -> bool {
    let text = output.get().as_bytes();
    work_on(text.len(), || Nesting::of(text)).is_too_deep()
}

/// The message for JSON that is nested too deeply; `what` names it.
pub(super) fn unreadable(what: &str) -> String {
    format!("the {what} is nested too deeply: at most {MAX_NESTING} levels of arrays and objects are allowed")
}

/// The outcome of a job whose worker sent such JSON.
pub(super) fn failure(what: &str, worker: &WorkerId) -> Outcome {
    let mut error = WireError::new(ErrorKind::Handler, unreadable(what));
    error.worker_id = Some(worker.to_string());
    Outcome::Failed(ErrorText::of(&error, "platform").to_text())
}
