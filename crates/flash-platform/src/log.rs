//! Log lines from workers and the platform, for display and storage.
use std::{sync::Arc, time::SystemTime};

use flash_protocol::wire::identity::RequestId;
use serde::Deserialize;

use super::{
    queue::WorkerId,
    supervisor::{Line, Source, Work},
};
use crate::logs::LogStream;

/// Where a line comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    Stdout,
    Stderr,
    /// The platform itself.
    System,
}

/// One line.
#[derive(Debug, Clone)]
pub struct LogLine {
    /// When it was read from the worker, or written by the platform.
    pub time: SystemTime,
    /// Who wrote it.
    pub origin: Origin,
    /// The level, if the line has one.
    pub level: Option<String>,
    /// The release of its worker; `None` for lines of the platform.
    pub release: Option<u64>,
    /// The worker type it is about; for other lines of the platform, `platform` or `webhook`.
    pub worker_type: String,
    /// The worker it is about; `None` if it is about none in particular.
    pub worker: Option<WorkerId>,
    /// The request it belongs to, if known.
    pub request_id: Option<String>,
    /// The job, where it is certain.
    pub job_id: Option<String>,
    /// The message of a structured line, else the line as printed.
    pub text: String,
}

impl From<Origin> for LogStream {
    fn from(origin: Origin) -> Self {
        match origin {
            Origin::Stdout => Self::Stdout,
            Origin::Stderr => Self::Stderr,
            Origin::System => Self::System,
        }
    }
}

/// Takes lines. Called from many tasks; must not block for long.
pub type Sink = Arc<dyn Fn(LogLine) + Send + Sync>;

/// Like `sink`, but sets the release of each line.
pub(crate) fn of_release(sink: Sink, release: u64) -> Sink {
    Arc::new(move |line| sink(LogLine { release: Some(release), ..line }))
}

/// A line as our SDK and the official worker print it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Structured {
    request_id: Option<String>,
    message: String,
    level: String,
}

impl LogLine {
    /// A line printed by a worker.
    pub fn of_worker(worker_type: &str, worker: &WorkerId, line: Line) -> Self {
        let Line { source, text, work } = line;
        let origin = match source {
            Source::Stdout => Origin::Stdout,
            Source::Stderr => Origin::Stderr,
        };
        let structured =
            text.starts_with("{\"requestId\"").then(|| serde_json::from_str::<Structured>(&text).ok());
        let (own_request, level, text) = match structured.flatten() {
            Some(line) => {
                let request_id = line.request_id.filter(|id| RequestId::parse(id).is_some());
                (request_id, Some(line.level), line.message)
            }
            None => (None, None, text),
        };
        // A line with another request ID belongs to another job too.
        let is_its_work = |work: &Work| own_request.as_ref().is_none_or(|own| *own == work.request_id);
        let work = work.filter(is_its_work);
        let job_id = work.as_ref().and_then(|work| work.job_id.clone());
        let request_id = own_request.or(work.map(|work| work.request_id));
        Self {
            time: SystemTime::now(),
            origin,
            level,
            release: None,
            worker_type: worker_type.to_owned(),
            worker: Some(worker.clone()),
            request_id,
            job_id,
            text,
        }
    }

    /// A line of the platform about a worker type.
    pub fn system(worker_type: &str, worker: Option<&WorkerId>, text: String) -> Self {
        Self {
            time: SystemTime::now(),
            origin: Origin::System,
            level: None,
            release: None,
            worker_type: worker_type.to_owned(),
            worker: worker.cloned(),
            request_id: None,
            job_id: None,
            text,
        }
    }

    /// The same line, as one of this work.
    pub fn about(self, work: Work) -> Self {
        Self { request_id: Some(work.request_id), job_id: work.job_id, ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_structured_line_names_its_own_request() {
        let text = r#"{"requestId":"r1","message":"loaded","level":"INFO"}"#.to_owned();
        let line = Line { source: Source::Stdout, text, work: Some(work("guess")) };
        let line = LogLine::of_worker("gpu", &"w1".into(), line);
        assert_eq!((line.request_id.as_deref(), line.level.as_deref()), (Some("r1"), Some("INFO")));
        assert_eq!(line.text, "loaded");
        assert_eq!(line.job_id, None, "the job of the guess is not that of the line");
    }

    #[test]
    fn a_line_that_names_the_workers_only_request_is_one_of_its_job() {
        for text in [r#"{"requestId":"r1","message":"m","level":"INFO"}"#, "plain"] {
            let line = Line { source: Source::Stdout, text: text.to_owned(), work: Some(work("r1")) };
            let line = LogLine::of_worker("gpu", &"w1".into(), line);
            assert_eq!((line.request_id.as_deref(), line.job_id.as_deref()), (Some("r1"), Some("j1")));
        }
    }

    #[test]
    fn a_release_puts_its_number_on_each_line() {
        let (sender, lines) = std::sync::mpsc::channel();
        let sink = of_release(Arc::new(move |line| sender.send(line).unwrap()), 7);
        sink(LogLine::system("gpu", None, "started".into()));
        assert_eq!(lines.recv().unwrap().release, Some(7));
    }

    fn work(request: &str) -> Work {
        Work { request_id: request.into(), job_id: Some("j1".into()) }
    }

    #[test]
    fn a_plain_line_stays_as_it_is() {
        let line = Line { source: Source::Stderr, text: "{oops".into(), work: None };
        let line = LogLine::of_worker("gpu", &"w1".into(), line);
        assert_eq!((line.text.as_str(), line.origin, line.level), ("{oops", Origin::Stderr, None));
    }
}
