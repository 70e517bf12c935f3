//! The filter of a query. No I/O.
use std::collections::HashSet;

use regex::{Regex, bytes};

use super::{
    line::LogStream,
    record::{LogRecord, Record},
    search::{LogLevel, SearchError, Selected, compile_search},
};

/// Requests of a job for which lines are looked at before they are parsed.
const MANY_HOPS: usize = 64;
/// Of a request's id on a terminal.
const SHORT_ID: usize = 8;
/// Of an id that the platform makes.
const WHOLE_ID: usize = 36;

/// [`Selected`], prepared for checking lines.
pub(super) struct Filter {
    select: Selected,
    search: Option<Regex>,
    /// A text in every matching line; searching for it is much cheaper than parsing the line.
    needle: Option<bytes::Regex>,
    /// Worker and request of the selected job.
    hops: HashSet<(String, String)>,
}

impl Filter {
    /// A filter for these lines.
    pub(super) fn new(select: &Selected) -> Result<Self, SearchError> {
        let search = select.search.as_deref().map(compile_search).transpose()?;
        let needle = select.request.as_deref().and_then(|request| match is_short(request) {
            true => any_of([format!("\"request_id\":\"{request}")]),
            false => any_of([member("request_id", request)]),
        });
        Ok(Self { select: select.clone(), search, needle, hops: HashSet::new() })
    }

    /// No line before it matches; milliseconds do not matter.
    pub(super) fn since_us(&self) -> Option<u64> {
        self.select.since_us
    }

    /// A text in the lines of the job that show its hops; `None` if no job is selected.
    pub(super) fn job_needle(&self) -> Option<bytes::Regex> {
        any_of([member("job_id", self.select.job.as_deref()?)])
    }

    /// Lines of the job contain its worker and request. Other output of that worker for that request belongs to the
    /// job too.
    pub(super) fn learn(&mut self, record: &Record<'_>) {
        let is_own = self.select.job.is_some() && record.job_id.as_deref() == self.select.job.as_deref();
        if let (true, Some(worker), Some(request)) = (is_own, &record.worker, &record.request_id) {
            self.hops.insert((worker.to_string(), request.to_string()));
        }
    }

    /// All hops of the job up to now are known.
    pub(super) fn learned(&mut self) {
        if let Some(job) = self.select.job.as_deref()
            && self.hops.len() <= MANY_HOPS
        {
            let requests = self.hops.iter().map(|(_, request)| member("request_id", request));
            self.needle = any_of(requests.chain([member("job_id", job)]));
        }
    }

    /// From now on, new hops may appear.
    pub(super) fn goes_on(&mut self) {
        if self.select.job.is_some() {
            self.needle = None;
        }
    }

    /// The line, if it is selected.
    pub(super) fn pass<'a>(&mut self, line: &'a [u8]) -> Option<Record<'a>> {
        if self.needle.as_ref().is_some_and(|needle| !needle.is_match(line)) {
            return None;
        }
        let record = Record::parse(line)?;
        self.learn(&record);
        self.fits(&record).then_some(record)
    }

    fn fits(&self, record: &Record<'_>) -> bool {
        let Selected { worker, request, job, release, since_us, until_us, search: _, level, streams } =
            &self.select;
        release.is_none_or(|release| record.release == Some(release))
            && since_us.is_none_or(|since| record.time_us >= since)
            && until_us.is_none_or(|until| record.time_us < until)
            && (streams.is_empty() || streams.contains(&record.stream))
            && worker.as_deref().is_none_or(|worker| is_of_worker(record, worker))
            && request.as_deref().is_none_or(|request| is_of_request(record, request))
            && job.as_deref().is_none_or(|job| self.is_of_job(record, job))
            && level.is_none_or(|level| level_of(record) >= level)
            && self.search.as_ref().is_none_or(|search| search.is_match(&record.text))
    }

    fn is_of_job(&self, record: &Record<'_>, job: &str) -> bool {
        match (&record.job_id, &record.worker, &record.request_id) {
            (Some(own), ..) => own == job,
            (None, Some(worker), Some(request)) => {
                !self.hops.is_empty() && self.hops.contains(&(worker.to_string(), request.to_string()))
            }
            _ => false,
        }
    }
}

/// The same question for lines that come from elsewhere, one by one.
pub struct LogMatcher(Filter);

impl LogMatcher {
    /// # Errors
    /// If the search is not a valid regular expression.
    pub fn new(select: &Selected) -> Result<Self, SearchError> {
        Filter::new(select).map(Self)
    }

    /// Whether a line is selected. Earlier lines show which requests belong to a job.
    pub fn takes(&mut self, line: &LogRecord) -> bool {
        let record = Record::borrowing(line);
        self.0.learn(&record);
        self.0.fits(&record)
    }
}

fn is_of_worker(record: &Record<'_>, worker: &str) -> bool {
    record.worker_type == worker || record.worker.as_deref() == Some(worker)
}

fn is_of_request(record: &Record<'_>, request: &str) -> bool {
    record.request_id.as_deref().is_some_and(|own| {
        own == request || (is_short(request) && own.len() == WHOLE_ID && own.starts_with(request))
    })
}

/// Whether it is the short form of an ID of the platform. IDs from clients are compared completely.
fn is_short(request: &str) -> bool {
    request.len() == SHORT_ID && request.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn level_of(record: &Record<'_>) -> LogLevel {
    let said = record.level.as_deref().and_then(|level| level.parse().ok());
    said.unwrap_or(match record.stream {
        LogStream::Stderr => LogLevel::Warn,
        LogStream::Stdout | LogStream::System => LogLevel::Info,
    })
}

/// A member of a record as it is written.
fn member(name: &str, value: &str) -> String {
    format!("\"{name}\":{}", serde_json::Value::from(value))
}

/// Finds any of these texts.
fn any_of(texts: impl IntoIterator<Item = String>) -> Option<bytes::Regex> {
    let texts: Vec<String> = texts.into_iter().map(|text| regex::escape(&text)).collect();
    // Lines are also found without it.
    bytes::Regex::new(&texts.join("|")).ok()
}
