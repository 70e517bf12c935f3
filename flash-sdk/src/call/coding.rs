//! How calls are written and their results read.
use flash_protocol::{Result, wire::RawJson};
use serde::de::DeserializeOwned;

use crate::{arguments::Args, descriptor::Function, json};

/// The encoded arguments of a call.
pub(crate) struct EncodedCall {
    pub(super) body: RawJson,
    pub(super) text: Vec<(&'static str, String)>,
}

/// Encodes the arguments of a call.
///
/// # Errors
/// If a value cannot be written as JSON.
pub(crate) fn encode<A: Args>(function: &Function, args: &A) -> Result<EncodedCall> {
    let text = if function.route.is_some() { args.encode_text(function)? } else { Vec::new() };
    Ok(EncodedCall { body: args.encode(function)?, text })
}

/// Decodes the result, or one chunk of it.
///
/// # Errors
/// If it does not match the function's return type.
pub(crate) fn decode<T: DeserializeOwned>(function: &Function, output: &RawJson) -> Result<T> {
    json::decode(output, || format!("the result of `{}` does not match its return type", function.stage()))
}
