//! A worker type that is a separate program: what the project says about it. The platform decides how it is started.
use std::{fmt, path::PathBuf};

use crate::{manifest::WorkerType, variables};

/// A worker type that is a separate program.
#[derive(Clone, PartialEq, Eq)]
pub struct CommandWorker {
    /// Its name, scaling and hardware, as for a worker type of the app.
    pub worker_type: WorkerType,
    /// A path in the project's directory when it has a slash, else looked up in `PATH`.
    pub program: PathBuf,
    /// Passed to the program as they are, without a shell.
    pub arguments: Vec<String>,
    /// Its own variables, on top of the project's.
    pub environment: Vec<(String, String)>,
    /// The health path, for a load-balanced one.
    pub health_path: String,
}

impl CommandWorker {
    /// Variables that the platform sets for a command and a project must not.
    pub const RESERVED: [&'static str; 12] = [
        variables::RUNPOD_GET_JOB,
        variables::RUNPOD_POST_OUTPUT,
        variables::RUNPOD_POST_STREAM,
        variables::RUNPOD_PING,
        variables::RUNPOD_PING_INTERVAL,
        variables::RUNPOD_AI_API_KEY,
        variables::RUNPOD_API_KEY,
        variables::RUNPOD_POD_ID,
        variables::RUNPOD_POD_HOSTNAME,
        variables::RUNPOD_ENDPOINT_ID,
        variables::PORT,
        variables::PORT_HEALTH,
    ];
    /// The variable of a command that replaces `/ping` as the health path.
    pub const HEALTH_CHECK_PATH: &'static str = "HEALTH_CHECK_PATH";

    /// As typed on a command line.
    pub fn line(&self) -> String {
        let words = std::iter::once(self.program.to_string_lossy().into_owned());
        words.chain(self.arguments.iter().cloned()).collect::<Vec<_>>().join(" ")
    }
}

impl fmt::Debug for CommandWorker {
    /// Without the values of its variables, which may be secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.environment.iter().map(|(name, _)| name.as_str()).collect();
        f.debug_struct("CommandWorker")
            .field("worker_type", &self.worker_type)
            .field("command", &self.line())
            .field("environment", &names)
            .field("health_path", &self.health_path)
            .finish()
    }
}
