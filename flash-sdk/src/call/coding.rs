//! How calls are written and their results read.
use flash_protocol::{
    Result,
    wire::{Payload, RawJson},
};
use http::HeaderMap;
use serde::de::DeserializeOwned;

use crate::{
    arguments::Args,
    bytes::Bytes,
    descriptor::{Function, Value},
    json,
};

/// The encoded arguments of a call.
pub(crate) struct EncodedCall {
    pub(super) body: Value,
    pub(super) text: Vec<(&'static str, String)>,
    pub(super) headers: HeaderMap,
}

/// Encodes the arguments of a call.
///
/// # Errors
/// If a value cannot be written as JSON.
pub(crate) fn encode<A: Args>(function: &Function, args: &A) -> Result<EncodedCall> {
    let (text, headers) = match function.route {
        Some(_) => (args.encode_text(function)?, args.headers(function)),
        None => (Vec::new(), HeaderMap::new()),
    };
    Ok(EncodedCall { body: args.encode(function)?, text, headers })
}

impl EncodedCall {
    /// The input of a job. Only routes have raw bodies.
    pub(super) fn into_input(self) -> Result<Payload> {
        self.body.into_payload("an argument")
    }
}

/// Decodes the result.
///
/// # Errors
/// If it does not match the function's return type.
pub(crate) fn decode<T: DeserializeOwned + 'static>(function: &Function, output: Value) -> Result<T> {
    let output = match output {
        Value::Json(output) => output,
        Value::Raw(bytes) if Bytes::is::<T>() => {
            return Ok(bytes.into_value().expect("T is `Bytes`"));
        }
        Value::Raw(bytes) => json::encode_payload(&bytes, "the result", 0)?,
    };
    json::decode_payload(&output, || mismatch(function))
}

/// Decodes a result or a chunk that came as JSON.
///
/// # Errors
/// If it does not match the function's return type.
pub(crate) fn decode_json<T: DeserializeOwned>(function: &Function, output: &RawJson) -> Result<T> {
    json::decode(output, || mismatch(function))
}

fn mismatch(function: &Function) -> String {
    format!("the result of `{}` does not match its return type", function.stage())
}
