//! Where an error occurred.
use flash_protocol::{Error, wire::identity::RequestId};

/// Adds stage and request to the error, unless they are already set.
pub(crate) fn located(error: Error, stage: String, request_id: Option<RequestId>) -> Error {
    let mut wire = error.into_wire();
    wire.stage.get_or_insert(stage);
    wire.request_id = wire.request_id.or(request_id.map(String::from));
    wire.into()
}
