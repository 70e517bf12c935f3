//! How a worker process is started: program, directory, environment.
use std::{path::PathBuf, time::Duration};

use flash_sdk::{
    env,
    manifest::{EndpointKind, Manifest, WorkerType},
};

use super::{queue::WorkerId, supervisor::Spec};

/// What all workers of a release have in common.
#[derive(Debug, Clone)]
pub(crate) struct Launch {
    /// The app binary.
    pub program: PathBuf,
    /// Where it runs: the app's package directory.
    pub directory: PathBuf,
    /// Variables of the project (`.env`).
    pub environment: Vec<(String, String)>,
    /// Where the platform listens, such as `http://127.0.0.1:8888`.
    pub platform: String,
    /// The endpoint map.
    pub endpoints: String,
    /// Seconds that running work gets at the end.
    pub drain_seconds: u64,
    /// How often workers say that they live.
    pub ping_interval: Duration,
}

/// The endpoint map of an app's worker types on a platform of ours.
pub(crate) fn endpoint_map(manifest: &Manifest, platform: &str) -> String {
    let entry = |worker: &WorkerType| {
        let url = match worker.kind {
            EndpointKind::Queue => format!("{platform}/v2/{}", worker.name),
            EndpointKind::LoadBalanced => format!("{platform}/{}", worker.name),
        };
        (worker.name.clone(), serde_json::Value::String(url))
    };
    serde_json::Value::Object(manifest.workers.iter().map(entry).collect()).to_string()
}

impl Launch {
    /// The process of one worker. Its key opens the worker API and nothing else.
    pub(crate) fn spec(&self, worker_type: &WorkerType, id: &WorkerId, key: &str) -> Spec {
        let base = format!("{}/v2/{}", self.platform, worker_type.name);
        let own = [
            (env::ROLE, "worker".to_owned()),
            (env::WORKER, worker_type.name.clone()),
            (env::ENDPOINTS, self.endpoints.clone()),
            (env::EXCHANGE_URL, format!("{base}/exchange/{id}")),
            (env::DRAIN_SECONDS, self.drain_seconds.to_string()),
            (env::RUNPOD_GET_JOB, format!("{base}/job-take/$ID?gpu=")),
            (env::RUNPOD_POST_OUTPUT, format!("{base}/job-done/$RUNPOD_POD_ID/$ID?gpu=")),
            (env::RUNPOD_POST_STREAM, format!("{base}/job-stream/$RUNPOD_POD_ID/$ID?gpu=")),
            (env::RUNPOD_PING, format!("{base}/ping/$RUNPOD_POD_ID?gpu=")),
            (env::RUNPOD_PING_INTERVAL, self.ping_interval.as_millis().to_string()),
            (env::RUNPOD_AI_API_KEY, key.to_owned()),
            (env::RUNPOD_POD_ID, id.to_string()),
            (env::RUNPOD_ENDPOINT_ID, worker_type.name.clone()),
            (env::HTTP_HOST, "127.0.0.1".to_owned()),
            (env::PORT, "0".to_owned()),
            (env::PORT_HEALTH, "0".to_owned()),
        ];
        let own = own.into_iter().map(|(name, value)| (name.to_owned(), value));
        // The platform's variables win over the project's.
        let environment = self.environment.iter().cloned().chain(own).collect();
        Spec { program: self.program.clone(), directory: self.directory.clone(), environment }
    }
}
