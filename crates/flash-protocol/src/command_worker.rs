//! A worker type that is a separate program: what the project says about it. The platform decides how it is started.
use std::{borrow::Cow, fmt, path::PathBuf};

use serde::{Deserialize, Serialize};

use crate::{manifest::WorkerType, variables};

/// What a worker type that is a separate program runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Program {
    /// A program of the machine or of the project: a process.
    Command {
        /// A path in the project's directory when it has a slash, else looked up in `PATH`.
        program: PathBuf,
        /// Passed to the program as they are, without a shell.
        arguments: Vec<String>,
    },
    /// An image of a registry, built elsewhere: a container.
    Image {
        /// Its complete name: `docker.io/library/redis:7`, or with a digest.
        image: String,
        /// Replaces the image's entry point, unless it is empty.
        #[serde(default)]
        entrypoint: Vec<String>,
        /// Replaces the image's default arguments, unless both it and `entrypoint` are empty.
        #[serde(default)]
        arguments: Vec<String>,
    },
}

impl Program {
    /// A program with these arguments.
    pub fn command(
        program: impl Into<PathBuf>,
        arguments: impl IntoIterator<Item = impl Into<String>>,
    ) -> Self {
        let arguments = arguments.into_iter().map(Into::into).collect();
        Self::Command { program: program.into(), arguments }
    }

    /// The image's name; `None` for a program of the machine.
    pub fn image(&self) -> Option<&str> {
        match self {
            Self::Command { .. } => None,
            Self::Image { image, .. } => Some(image),
        }
    }

    /// As typed on a command line, with the image in place of its program.
    pub fn line(&self) -> String {
        let (first, rest) = match self {
            Self::Command { program, arguments } => (program.to_string_lossy(), [&[], arguments.as_slice()]),
            Self::Image { image, entrypoint, arguments } => {
                (Cow::Borrowed(image.as_str()), [entrypoint.as_slice(), arguments.as_slice()])
            }
        };
        let rest = rest.concat();
        std::iter::once(first.as_ref()).chain(rest.iter().map(String::as_str)).collect::<Vec<_>>().join(" ")
    }
}

/// A worker type that is a separate program.
#[derive(Clone, PartialEq, Eq)]
pub struct CommandWorker {
    /// Its name, scaling and hardware, as for a worker type of the app.
    pub worker_type: WorkerType,
    /// What it runs.
    pub program: Program,
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
        self.program.line()
    }
}

/// An argument of an image with the port in place of `$PORT`: many servers take it as an argument only, and there is no
/// shell that would insert it. Names that only begin so, such as `$PORT_HEALTH`, stay.
pub fn with_port(argument: &str, port: u16) -> String {
    const PLACE: &str = "$PORT";
    let mut parts = argument.split(PLACE);
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let is_longer = part.starts_with(|next: char| next.is_ascii_alphanumeric() || next == '_');
        text += &if is_longer { PLACE.to_owned() } else { port.to_string() };
        text += part;
    }
    text
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_is_put_where_an_argument_names_it_alone() {
        for (argument, expected) in [
            ("--port=$PORT", "--port=8000"),
            ("$PORT", "8000"),
            ("0.0.0.0:$PORT/$PORT", "0.0.0.0:8000/8000"),
            ("$PORT_HEALTH $PORTS", "$PORT_HEALTH $PORTS"),
            ("--price=$5", "--price=$5"),
        ] {
            assert_eq!(with_port(argument, 8000), expected);
        }
    }

    #[test]
    fn a_stored_program_of_an_earlier_version_is_still_one() {
        let command: Program = serde_json::from_str(r#"{"program":"sh","arguments":["-c","x"]}"#).unwrap();
        assert_eq!(command, Program::command("sh", ["-c", "x"]));
        let image = Program::Image {
            image: "ghcr.io/a/b@sha256:1".into(),
            entrypoint: Vec::new(),
            arguments: vec!["--port".into(), "$PORT".into()],
        };
        let text = serde_json::to_string(&image).unwrap();
        assert_eq!(serde_json::from_str::<Program>(&text).unwrap(), image);
        assert_eq!(image.line(), "ghcr.io/a/b@sha256:1 --port $PORT");
    }
}
