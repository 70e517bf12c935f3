//! Every environment variable that an app binary reads, with its meaning. Read once, at start.
//!
//! Those that Runpod injects keep their names; those of ours begin with `FLASH_`.

/// `describe`: print the manifest and exit. `worker`: be a worker. Otherwise the user's `main` runs.
/// A worker is also what a binary becomes where [`RUNPOD_GET_JOB`] or [`WORKER`] is set.
pub const ROLE: &str = "FLASH_ROLE";
/// The worker type to be. May be left out where the app has one.
pub const WORKER: &str = "FLASH_WORKER";
/// Where the other worker types are: JSON object of worker type to base URL, such as
/// `{"inference": "https://api.runpod.ai/v2/ENDPOINT"}`; for a load-balanced one the URL that its paths
/// are appended to. Without it and without [`ENV`], calls run in process.
pub const ENDPOINTS: &str = "FLASH_ENDPOINTS";
/// The environment whose functions the app's own `main` calls, such as `production`. Where they are and which key opens
/// them is in the user's credential file ([`crate::credentials`]), under the app's package name; [`ENDPOINTS`] and
/// [`API_KEY`] win over it. Without it, calls run in process. A worker ignores it, and so does a test: only `main` with
/// `#[flash_sdk::main]` knows which app it is.
pub const ENV: &str = "FLASH_ENV";
/// The key for what [`ENV`] names and for an `Endpoint` without a key of its own, instead of the one in the
/// credential file. For `flash run` it is the key that clients must show.
pub const API_KEY: &str = "FLASH_API_KEY";
/// The user's configuration directory, where `credentials.json` is (default `$XDG_CONFIG_HOME/flash`, else
/// `~/.config/flash`).
pub const CONFIG_DIR: &str = "FLASH_CONFIG_DIR";
/// URL of the exchange, on a platform of ours.
pub const EXCHANGE_URL: &str = "FLASH_EXCHANGE_URL";
/// Seconds for which a finished result is offered again to a platform that does not take it (default 600).
pub const RESULT_RETRY_SECONDS: &str = "FLASH_RESULT_RETRY_SECONDS";
/// Seconds that running jobs get to finish after SIGTERM (default 30).
pub const DRAIN_SECONDS: &str = "FLASH_DRAIN_SECONDS";
/// Address that a load-balanced worker listens on (default `0.0.0.0`; a platform of ours says loopback).
pub const HTTP_HOST: &str = "FLASH_HTTP_HOST";

/// Template of the job-take URL. Its presence means: run as a worker of a platform with Runpod's protocol.
pub const RUNPOD_GET_JOB: &str = "RUNPOD_WEBHOOK_GET_JOB";
/// Template of the job-done URL.
pub const RUNPOD_POST_OUTPUT: &str = "RUNPOD_WEBHOOK_POST_OUTPUT";
/// Template of the job-stream URL.
pub const RUNPOD_POST_STREAM: &str = "RUNPOD_WEBHOOK_POST_STREAM";
/// Template of the heartbeat URL.
pub const RUNPOD_PING: &str = "RUNPOD_WEBHOOK_PING";
/// Milliseconds between heartbeats (default 10,000; at least 100).
pub const RUNPOD_PING_INTERVAL: &str = "RUNPOD_PING_INTERVAL";
/// Credential of a worker, sent as it is in `Authorization`.
pub const RUNPOD_AI_API_KEY: &str = "RUNPOD_AI_API_KEY";
/// Credential for calls to other endpoints, sent as a bearer token.
pub const RUNPOD_API_KEY: &str = "RUNPOD_API_KEY";
/// The worker's id. Without it: `HOSTNAME`, else a random one.
pub const RUNPOD_POD_ID: &str = "RUNPOD_POD_ID";
/// The endpoint that the worker belongs to; foreign workers log JSON lines where it is set.
pub const RUNPOD_ENDPOINT_ID: &str = "RUNPOD_ENDPOINT_ID";
/// Host name that error texts carry.
pub const RUNPOD_POD_HOSTNAME: &str = "RUNPOD_POD_HOSTNAME";
/// GPU type, expanded in URL templates.
pub const RUNPOD_GPU_TYPE_ID: &str = "RUNPOD_GPU_TYPE_ID";
/// Least level of log lines: TRACE, DEBUG, INFO (default), WARN or ERROR.
pub const RUNPOD_LOG_LEVEL: &str = "RUNPOD_LOG_LEVEL";
/// Async threads of a worker (default: one per core). Tokio's own variable.
pub const THREADS: &str = "TOKIO_WORKER_THREADS";
/// Port of a load-balanced worker (default 80); 0 takes a free one and tells the platform.
pub const PORT: &str = "PORT";
/// Port that answers `/ping` (default: that of [`PORT`]).
pub const PORT_HEALTH: &str = "PORT_HEALTH";

/// A variable's value, unless unset, empty or not UTF-8.
pub fn get(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// The value of a variable that the app needs, such as a key that was stored with `flash secret set`.
///
/// ```no_run
/// # fn run() -> flash_sdk::Result<()> {
/// let key = flash_sdk::env("HF_TOKEN")?;
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// For a variable that is unset, empty or not UTF-8: which one, and how to set it. Its value is never part of the error.
pub fn env(name: &str) -> crate::Result<String> {
    let problem = match std::env::var(name) {
        Ok(value) if !value.is_empty() => return Ok(value),
        Ok(_) => "is empty",
        Err(std::env::VarError::NotPresent) => "is not set",
        Err(std::env::VarError::NotUnicode(_)) => "is not valid UTF-8",
    };
    Err(crate::Error::handler(format!(
        "the environment variable `{name}` {problem}: for `flash run`, write `{name}=…` into `.env`; for a deployment, run \
         `flash secret set ENVIRONMENT {name}`"
    )))
}

/// A variable that holds a number.
///
/// # Errors
/// A value that is none, with its name.
pub fn number<T: std::str::FromStr>(name: &str, default: T) -> Result<T, String> {
    match get(name) {
        None => Ok(default),
        Some(text) => text.parse().map_err(|_| format!("{name} is `{text}`, expected a whole number")),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_missing_variable_is_named_with_the_way_to_set_it() {
        let error = crate::env("FLASH_TEST_NO_SUCH_VARIABLE").unwrap_err();
        for part in [
            "`FLASH_TEST_NO_SUCH_VARIABLE` is not set",
            "`.env`",
            "flash secret set ENVIRONMENT FLASH_TEST_NO_SUCH_VARIABLE",
        ] {
            assert!(error.message().contains(part), "{part}: {error}");
        }
        assert!(!crate::env("PATH").unwrap().is_empty());
    }
}
