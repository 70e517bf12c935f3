//! Checks the input of a function.
use flash_protocol::wire::fault;
use serde_json::value::RawValue;

use super::error::Refusal;
use crate::{large_input::work_on, release::Release};

/// Checks an input against a function's schema.
///
/// # Errors
/// 422 with every field that is missing or wrong.
pub(super) fn check_input(release: &Release, function: usize, input: &RawValue) -> Result<(), Refusal> {
    let fields = work_on(input.get().len(), || {
        read_input(input).map(|input| release.schemas.violations(function, &input))
    })?;
    if fields.is_empty() { Ok(()) } else { Err(Refusal::unprocessable(fields)) }
}

/// Input that was only checked for syntax may still contain half a surrogate pair, or be nested too deeply.
pub(super) fn read_input(input: &RawValue) -> Result<serde_json::Value, Refusal> {
    serde_json::from_str(input.get()).map_err(|error| {
        let fault = fault(&error);
        Refusal::bad_request(format!(
            "the input is not valid JSON: {fault}, counted from the start of the input"
        ))
    })
}
