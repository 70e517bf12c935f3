//! Checks the input of a function.
use flash_protocol::wire::fault;
use serde_json::value::RawValue;

use super::error::Refusal;
use crate::release::Release;

/// Checks an input against a function's schema.
///
/// # Errors
/// 422 with every field that is missing or wrong.
pub(super) fn check_input(release: &Release, function: usize, input: &RawValue) -> Result<(), Refusal> {
    match release.schemas.violations(function, &read_input(input)?) {
        fields if fields.is_empty() => Ok(()),
        fields => Err(Refusal::unprocessable(fields)),
    }
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
