//! What it costs to pass a picture through three workers: as bytes, and as base64 in JSON as it was without them.
use base64::{Engine as _, engine::general_purpose::STANDARD};
use flash_sdk::{Bytes, Error, Result, remote};

/// The picture as it came.
#[remote(worker = "preprocess_worker")]
pub async fn pass_first(picture: Bytes) -> Result<Bytes> {
    Ok(picture)
}

/// The picture as it came.
#[remote(worker = "inference_worker")]
pub async fn pass_second(picture: Bytes) -> Result<Bytes> {
    Ok(picture)
}

/// The picture as it came.
#[remote(worker = "postprocess_worker")]
pub async fn pass_third(picture: Bytes) -> Result<Bytes> {
    Ok(picture)
}

/// Passes a picture through three workers as bytes, and says how long it is then.
#[remote(worker = "classify_pipeline", method = POST, path = "/pictures/bytes")]
pub async fn as_bytes(picture: Bytes) -> Result<usize> {
    Ok(pass_third(pass_second(pass_first(picture).await?).await?).await?.len())
}

/// Each stage works on bytes, so it decodes and encodes.
fn recoded(picture: &str) -> Result<String> {
    let picture =
        STANDARD.decode(picture).map_err(|error| Error::invalid_input("/picture", error.to_string()))?;
    Ok(STANDARD.encode(picture))
}

/// The picture as it came, in base64.
#[remote(worker = "preprocess_worker")]
pub async fn pass_first_text(picture: String) -> Result<String> {
    recoded(&picture)
}

/// The picture as it came, in base64.
#[remote(worker = "inference_worker")]
pub async fn pass_second_text(picture: String) -> Result<String> {
    recoded(&picture)
}

/// The picture as it came, in base64.
#[remote(worker = "postprocess_worker")]
pub async fn pass_third_text(picture: String) -> Result<String> {
    recoded(&picture)
}

/// Passes a picture through three workers as base64, and says how long it is then.
#[remote(worker = "classify_pipeline", method = POST, path = "/pictures/base64")]
pub async fn as_base64(picture: Bytes) -> Result<usize> {
    let text = pass_first_text(STANDARD.encode(&picture)).await?;
    let text = pass_third_text(pass_second_text(text).await?).await?;
    let picture =
        STANDARD.decode(text).map_err(|error| Error::invalid_input("/picture", error.to_string()))?;
    Ok(picture.len())
}
