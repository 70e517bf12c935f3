//! Log lines on their way from workers and the platform to whoever shows or keeps them.
use std::{sync::Arc, time::SystemTime};

use serde::Deserialize;

use super::{
    queue::WorkerId,
    supervisor::{Line, Source},
};

/// Where a line comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    Stdout,
    Stderr,
    /// The platform itself.
    System,
}

/// One line.
#[derive(Debug, Clone)]
pub(crate) struct LogLine {
    pub time: SystemTime,
    pub origin: Origin,
    /// Level, where the line says one.
    pub level: Option<String>,
    pub worker_type: String,
    pub worker: Option<WorkerId>,
    pub request_id: Option<String>,
    pub text: String,
}

/// Takes lines. Called from many tasks; must not block for long.
pub(crate) type Sink = Arc<dyn Fn(LogLine) + Send + Sync>;

/// A line as our SDK and the official worker print it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Structured {
    request_id: Option<String>,
    message: String,
    level: String,
}

impl LogLine {
    /// What a worker printed.
    pub(crate) fn of_worker(worker_type: &str, worker: &WorkerId, line: Line) -> Self {
        let Line { source, text, request_id } = line;
        let origin = match source {
            Source::Stdout => Origin::Stdout,
            Source::Stderr => Origin::Stderr,
        };
        let structured =
            text.starts_with("{\"requestId\"").then(|| serde_json::from_str::<Structured>(&text).ok());
        let (request_id, level, text) = match structured.flatten() {
            Some(line) => (line.request_id.or(request_id), Some(line.level), line.message),
            None => (request_id, None, text),
        };
        Self {
            time: SystemTime::now(),
            origin,
            level,
            worker_type: worker_type.to_owned(),
            worker: Some(worker.clone()),
            request_id,
            text,
        }
    }

    /// What the platform has to say of a worker type.
    pub(crate) fn system(worker_type: &str, worker: Option<&WorkerId>, text: String) -> Self {
        Self {
            time: SystemTime::now(),
            origin: Origin::System,
            level: None,
            worker_type: worker_type.to_owned(),
            worker: worker.cloned(),
            request_id: None,
            text,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_structured_line_names_its_own_request() {
        let text = r#"{"requestId":"r1","message":"loaded","level":"INFO"}"#.to_owned();
        let line = Line { source: Source::Stdout, text, request_id: Some("guess".into()) };
        let line = LogLine::of_worker("gpu", &"w1".into(), line);
        assert_eq!((line.request_id.as_deref(), line.level.as_deref()), (Some("r1"), Some("INFO")));
        assert_eq!(line.text, "loaded");
    }

    #[test]
    fn a_plain_line_stays_as_it_is() {
        let line = Line { source: Source::Stderr, text: "{oops".into(), request_id: None };
        let line = LogLine::of_worker("gpu", &"w1".into(), line);
        assert_eq!((line.text.as_str(), line.origin, line.level), ("{oops", Origin::Stderr, None));
    }
}
