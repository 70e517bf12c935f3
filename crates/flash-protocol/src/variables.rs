//! The names of the environment variables that an app binary reads. They are read once, at start.
//!
//! Variables that Runpod sets keep their names. Variables of Flash start with `FLASH_`.

/// `describe`: print the manifest and exit. `worker`: run as a worker. `pod`: as the first process of a pod, start workers
/// as the platform says. If it is not set, the binary runs as a worker
/// when [`RUNPOD_GET_JOB`] or [`WORKER`] is set, and runs the user's `main` otherwise.
pub const ROLE: &str = "FLASH_ROLE";
/// The worker type to run as. Optional if the app has only one.
pub const WORKER: &str = "FLASH_WORKER";
/// Where the other worker types run: a JSON object of worker type to base URL, such as
/// `{"inference": "https://api.runpod.ai/v2/ENDPOINT"}`. For a load-balanced worker type it is the URL that paths are
/// appended to. Without it and without [`ENV`], calls run in this process.
pub const ENDPOINTS: &str = "FLASH_ENDPOINTS";
/// The environment whose functions the app's own `main` calls, such as `production`. URLs and key come from the
/// user's credential file ([`credentials`](crate::credentials)), under the app's package name; [`ENDPOINTS`] and
/// [`API_KEY`] take precedence. Without it, calls run in this process. Workers and tests ignore it: only `main` with
/// `#[flash_sdk::main]` knows which app it is.
pub const ENV: &str = "FLASH_ENV";
/// The key for the environment in [`ENV`], instead of the one in the credential file, and for an `Endpoint` without
/// its own key. For `flash run` it is the key that clients must send.
pub const API_KEY: &str = "FLASH_API_KEY";
/// The user's configuration directory, which contains `credentials.json` (default `$XDG_CONFIG_HOME/flash`, or else
/// `~/.config/flash`).
pub const CONFIG_DIR: &str = "FLASH_CONFIG_DIR";
/// The `flash` command that tests start, instead of the one on `PATH`.
pub const BIN: &str = "FLASH_BIN";
/// URL of the exchange. Set by the Flash platform.
pub const EXCHANGE_URL: &str = "FLASH_EXCHANGE_URL";
/// URL where the first process of a pod finds the platform. Set by the Flash platform.
pub const POD_URL: &str = "FLASH_POD_URL";
/// The key with which it is let in. Workers in the pod do not get it. Set by the Flash platform.
pub const POD_KEY: &str = "FLASH_POD_KEY";
/// A nonce: the worker marks in its output which work it prints for ([`mark`](crate::wire::pod::mark)). Set by the first process
/// of a pod.
pub const OUTPUT_MARKS: &str = "FLASH_OUTPUT_MARKS";
/// Seconds for which a worker keeps trying to post a finished result (default 600).
pub const RESULT_RETRY_SECONDS: &str = "FLASH_RESULT_RETRY_SECONDS";
/// The directory with the files of the worker's model. Set by the Flash platform, and in images.
pub const MODEL_DIR: &str = "FLASH_MODEL_DIR";
/// Seconds that running jobs have to finish after SIGTERM (default 30).
pub const DRAIN_SECONDS: &str = "FLASH_DRAIN_SECONDS";
/// The price of a second of this worker in billionths of a dollar. Set by the Flash platform if it knows the price.
pub const PRICE: &str = "FLASH_NANO_DOLLARS_PER_SECOND";
/// Address that a load-balanced worker listens on (default `0.0.0.0`; the Flash platform sets loopback).
pub const HTTP_HOST: &str = "FLASH_HTTP_HOST";

/// Template of the job-take URL. If it is set, the binary runs as a worker and uses Runpod's protocol.
pub const RUNPOD_GET_JOB: &str = "RUNPOD_WEBHOOK_GET_JOB";
/// Template of the job-done URL.
pub const RUNPOD_POST_OUTPUT: &str = "RUNPOD_WEBHOOK_POST_OUTPUT";
/// Template of the job-stream URL.
pub const RUNPOD_POST_STREAM: &str = "RUNPOD_WEBHOOK_POST_STREAM";
/// Template of the heartbeat URL.
pub const RUNPOD_PING: &str = "RUNPOD_WEBHOOK_PING";
/// Milliseconds between heartbeats (default 10,000; at least 100).
pub const RUNPOD_PING_INTERVAL: &str = "RUNPOD_PING_INTERVAL";
/// Credential of a worker, sent unchanged in `Authorization`.
pub const RUNPOD_AI_API_KEY: &str = "RUNPOD_AI_API_KEY";
/// Credential for calls to other endpoints, sent as a bearer token.
pub const RUNPOD_API_KEY: &str = "RUNPOD_API_KEY";
/// The worker's ID (default: `HOSTNAME`, or else a random one).
pub const RUNPOD_POD_ID: &str = "RUNPOD_POD_ID";
/// The endpoint that the worker belongs to. If it is set, Runpod's own workers log JSON lines.
pub const RUNPOD_ENDPOINT_ID: &str = "RUNPOD_ENDPOINT_ID";
/// Host name for error texts.
pub const RUNPOD_POD_HOSTNAME: &str = "RUNPOD_POD_HOSTNAME";
/// GPU type, expanded in URL templates.
pub const RUNPOD_GPU_TYPE_ID: &str = "RUNPOD_GPU_TYPE_ID";
/// Lowest level of log lines: TRACE, DEBUG, INFO (default), WARN or ERROR.
pub const RUNPOD_LOG_LEVEL: &str = "RUNPOD_LOG_LEVEL";
/// Async threads of a worker (default: one per core). Tokio's own variable.
pub const THREADS: &str = "TOKIO_WORKER_THREADS";
/// Threads of model libraries: those that compute with rayon, and candle's own. Each reads its variable at its first use.
pub const MODEL_THREADS: [&str; 2] = ["RAYON_NUM_THREADS", "CANDLE_NUM_THREADS"];
/// Port of a load-balanced worker (default 80). With 0, it takes a free port and reports it to the platform.
pub const PORT: &str = "PORT";
/// Port that answers `/ping` (default: that of [`PORT`]).
pub const PORT_HEALTH: &str = "PORT_HEALTH";

/// The name of a variable about an environment that code calls by its name, such as
/// `FLASH_ENVIRONMENT_SHOP_EU_WEST_URL` for the `URL` of `shop/eu-west`. `URL` is the address of its Flash service,
/// `ENDPOINTS` is as [`ENDPOINTS`] and wins, `KEY` is its key (default [`API_KEY`]).
pub fn of_environment(environment: &str, what: &str) -> String {
    let shouted = |char: char| if char.is_ascii_alphanumeric() { char.to_ascii_uppercase() } else { '_' };
    let name: String = environment.chars().map(shouted).collect();
    format!("FLASH_ENVIRONMENT_{name}_{what}")
}

/// The value of a variable; `None` if it is unset, empty or not UTF-8.
pub fn get(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}
