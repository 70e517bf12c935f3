//! Calls to worker types that are no functions of this app, by name.
use serde::{Serialize, de::DeserializeOwned};

use super::{Peers, Process, located_at, settle, within};
use crate::{Context, Error, ErrorKind, Result, env, json, wire::RawJson};

/// Runs a job on a worker type that is no Rust function: a `[workers.NAME]` of `flash.toml`, or an endpoint
/// that somebody else deployed. Waits for its output.
///
/// `input` becomes the job's `input` and nothing is put into it, so write what the program expects. The
/// output is read as `O`; take `serde_json::Value` where its shape varies.
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
/// It belongs to the current call: its request id goes along, it waits no longer than the caller does, and
/// counts for the depth of the chain. What the program calls in its turn starts a chain of its own.
///
/// Dropping the future gives the job up. Where the platform has the exchange the job is cancelled; elsewhere
/// it runs on and its output is lost.
///
/// # Errors
/// What the program fails with, as [`ErrorKind::Handler`]; [`ErrorKind::Decode`] for an output that is no
/// `O`; why the worker type could not be reached. Always where this process knows of no platform, such as
/// in a plain `cargo run` or `cargo test`: there is no function here that could run in its place.
pub async fn call_worker<O: DeserializeOwned>(
    worker: &str,
    input: &(impl Serialize + ?Sized + Sync),
) -> Result<O> {
    let peers = settle(Process::Other).ok_or_else(|| no_platform(worker))?;
    let input = json::encode(input, format_args!("the input for `{worker}`"), 0)?;
    let output = peers.call_worker(worker, input).await?;
    serde_json::from_str(output.get()).map_err(|error| {
        Error::new(
            ErrorKind::Decode,
            format!(
                "the output of `{worker}` does not match the expected type: {}",
                crate::wire::fault(&error)
            ),
        )
    })
}

impl Peers {
    async fn call_worker(&self, worker: &str, input: RawJson) -> Result<RawJson> {
        let context = Context::current();
        let mut envelope = Context::envelope_for(context.as_ref(), worker.to_owned())?;
        envelope.function = None;
        let request_id = envelope.request_id.clone();
        let deadline = context.and_then(|context| context.deadline());
        let outcome = within(deadline, self.run(worker, envelope, input)).await;
        outcome.map_err(|error| located_at(error, worker.to_owned(), request_id))
    }
}

fn no_platform(worker: &str) -> Error {
    let message = format!(
        "worker type `{worker}` is a separate program, and no platform is running it: start the app with \
         `flash run`, or set {} to {{\"{worker}\": \"https://api.runpod.ai/v2/ENDPOINT\"}}",
        env::ENDPOINTS
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
