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
    descriptor::{Function, Outgoing, Value},
    json,
};

/// The encoded arguments of a call.
pub(crate) struct EncodedCall {
    pub(super) body: Value,
    pub(super) text: Vec<(&'static str, String)>,
    pub(super) headers: HeaderMap,
    /// More of the query, as it is in a URL.
    pub(super) query: Option<String>,
}

/// Encodes the arguments of a call.
///
/// # Errors
/// If a value cannot be written as JSON.
pub(crate) fn encode<A: Args>(function: &Function, args: &A) -> Result<EncodedCall> {
    if function.route.is_none() {
        let body = args.encode(function)?;
        return Ok(EncodedCall { body, text: Vec::new(), headers: HeaderMap::new(), query: None });
    }
    let (text, Outgoing { headers, query, body }) = (args.encode_text(function)?, args.outgoing(function));
    let body = match body {
        Some(body) => Value::Raw(body),
        None => args.encode(function)?,
    };
    Ok(EncodedCall { body, text, headers, query })
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

/// Decodes a chunk of the result.
///
/// # Errors
/// If it does not match the function's return type.
pub(crate) fn decode_chunk<T: DeserializeOwned>(function: &Function, chunk: &Payload) -> Result<T> {
    json::decode_payload(chunk, || mismatch(function))
}

/// Decodes a result that came as JSON.
///
/// # Errors
/// If it does not match the function's return type.
pub(super) fn decode_json<T: DeserializeOwned>(function: &Function, output: &RawJson) -> Result<T> {
    json::decode(output, || mismatch(function))
}

fn mismatch(function: &Function) -> String {
    format!("the result of `{}` does not match its return type", function.stage())
}
