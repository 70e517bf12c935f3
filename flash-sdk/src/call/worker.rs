//! Calls by name to worker types that are not functions of this app.
use flash_protocol::{
    Error, ErrorKind, Result, variables,
    wire::{Payload, job::Policy},
};
use serde::{Serialize, de::DeserializeOwned};

use super::peers::{Peers, peers};
use crate::{context::Context, deadline::within_current_call, json, located::located};

/// Runs a job on a worker type that is not a Rust function, and waits for its output: a `[workers.NAME]` of
/// `flash.toml`, or an endpoint that someone else deployed.
///
/// `input` is sent unchanged as the job's `input`, so write what the program expects. The output is decoded as `O`;
/// use `serde_json::Value` if its shape varies.
///
/// ```no_run
/// # use serde::{Deserialize, Serialize};
/// #[derive(Serialize)]
/// struct Picture {
///     url: String,
/// }
///
/// #[derive(Deserialize)]
/// struct Caption {
///     text: String,
/// }
///
/// # async fn example() -> flash_sdk::Result<()> {
/// let picture = Picture { url: "https://example.com/cat.jpg".to_owned() };
/// let caption: Caption = flash_sdk::call_worker("captioner", &picture).await?;
/// # Ok(())
/// # }
/// ```
///
/// The job is part of the current call: it has the same request ID, waits no longer than the caller, and counts
/// towards the depth of the chain. Calls that the program makes start a new chain.
///
/// Dropping the future abandons the job. A platform with the exchange cancels it; otherwise it keeps running and its
/// output is lost.
///
/// # Errors
/// The program's error as [`ErrorKind::Handler`]; [`ErrorKind::Decode`] if the output is not an `O`; or why the
/// worker type could not be reached. It always fails if no platform is configured, as in a plain `cargo run` or
/// `cargo test`, because there is no function to run instead.
pub async fn call_worker<O: DeserializeOwned>(
    worker: &str,
    input: &(impl Serialize + ?Sized + Sync),
) -> Result<O> {
    let peers = peers().ok_or_else(|| no_platform(worker))?;
    let input = json::encode_payload(input, format_args!("the input for `{worker}`"), 0)?;
    let output = peers.call_worker(worker, input).await?;
    json::decode_payload(&output, || format!("the output of `{worker}` does not match the expected type"))
}

impl Peers {
    async fn call_worker(&self, worker: &str, input: Payload) -> Result<Payload> {
        let mut envelope = Context::envelope_for(Context::current().as_ref(), worker.to_owned())?;
        envelope.function = None;
        let request_id = envelope.request_id.clone();
        let outcome = within_current_call(self.run(worker, envelope, input, Policy::default())).await;
        outcome.map_err(|error| located(error, worker.to_owned(), request_id))
    }
}

fn no_platform(worker: &str) -> Error {
    let message = format!(
        "worker type `{worker}` is a separate program, and no platform is running it: start the app with \
         `flash run`, or set {} to {{\"{worker}\": \"https://api.runpod.ai/v2/ENDPOINT\"}}",
        variables::ENDPOINTS
    );
    Error::new(ErrorKind::NoWorker, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn outside_of_a_platform_the_error_says_what_to_do() {
        let error = call_worker::<String>("captioner", &"x").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NoWorker);
        let message = error.to_string();
        for part in ["`captioner`", "flash run", r#"FLASH_ENDPOINTS to {"captioner": "#] {
            assert!(message.contains(part), "{message}");
        }
    }
}
