//! A worker's settings, read from the environment once and checked.
use std::time::Duration;

use flash_protocol::variables;

/// The settings from environment variables.
pub(super) struct Settings {
    /// The worker type to run as; optional if the app has only one.
    pub worker: Option<String>,
    /// How work arrives.
    pub source: WorkSource,
    /// This worker's id.
    pub worker_id: String,
    /// The price of a second, if the platform says it.
    pub nano_dollars_per_second: Option<u64>,
    /// Host name in error texts.
    pub hostname: String,
    /// How long to retry a result.
    pub result_retry: Duration,
    /// How long running jobs get after SIGTERM.
    pub drain: Duration,
    /// Async threads.
    pub threads: u32,
    /// Lowest level of log lines.
    pub log_level: tracing::Level,
    /// Where a load-balanced worker listens.
    pub http: HttpSettings,
}

/// Where a load-balanced worker listens.
#[derive(Clone)]
pub(super) struct HttpSettings {
    pub host: String,
    pub port: u16,
    pub health_port: u16,
}

/// How work arrives.
pub(super) enum WorkSource {
    /// Over the exchange of the Flash platform.
    Exchange(ExchangeAddress),
    /// With Runpod's protocol.
    Runpod(Runpod),
    /// Not at all. That is fine for a load-balanced worker, which gets work on its port.
    Missing,
}

/// Where the exchange is.
pub(super) struct ExchangeAddress {
    pub url: String,
    pub key: String,
    pub heartbeats: Option<Heartbeats>,
}

/// Where and how often to send heartbeats.
#[derive(Clone)]
pub(super) struct Heartbeats {
    pub url: String,
    pub interval: Duration,
    /// Sent unchanged in `Authorization`.
    pub key: String,
}

/// URLs of Runpod's worker protocol, with all placeholders expanded except the job's ID.
#[derive(Clone)]
pub(super) struct Runpod {
    /// Complete: `$ID` is already replaced by the worker's ID.
    pub take: String,
    /// `$ID` is the job's id.
    pub output: String,
    /// `$ID` is the job's id.
    pub stream: Option<String>,
    pub heartbeats: Option<Heartbeats>,
    /// Sent unchanged in `Authorization`.
    pub key: String,
}

impl Settings {
    pub(super) fn from_env() -> Result<Self, String> {
        let worker_id = variables::get(variables::RUNPOD_POD_ID)
            .or_else(|| variables::get("HOSTNAME"))
            .unwrap_or_else(|| uuid::Uuid::new_v4().to_string());
        let key = variables::get(variables::RUNPOD_AI_API_KEY).unwrap_or_default();
        let source = if let Some(url) = variables::get(variables::EXCHANGE_URL) {
            let heartbeats = Heartbeats::from_env(&worker_id, &key)?;
            WorkSource::Exchange(ExchangeAddress { url, key, heartbeats })
        } else if let Some(take) = variables::get(variables::RUNPOD_GET_JOB) {
            WorkSource::Runpod(Runpod::from_env(&take, &worker_id, key)?)
        } else {
            WorkSource::Missing
        };
        let port = number(variables::PORT, 80)?;
        Ok(Self {
            worker: variables::get(variables::WORKER),
            source,
            worker_id,
            nano_dollars_per_second: price()?,
            hostname: variables::get(variables::RUNPOD_POD_HOSTNAME).unwrap_or_else(|| "unknown".to_owned()),
            result_retry: Duration::from_secs(number(variables::RESULT_RETRY_SECONDS, 600)?),
            drain: Duration::from_secs(number(variables::DRAIN_SECONDS, 30)?),
            threads: number(variables::THREADS, default_threads())?,
            log_level: log_level()?,
            http: HttpSettings {
                host: variables::get(variables::HTTP_HOST).unwrap_or_else(|| "0.0.0.0".to_owned()),
                port,
                health_port: number(variables::PORT_HEALTH, port)?,
            },
        })
    }
}

fn price() -> Result<Option<u64>, String> {
    match variables::get(variables::PRICE) {
        Some(_) => number(variables::PRICE, 0).map(Some),
        None => Ok(None),
    }
}

fn default_threads() -> u32 {
    std::thread::available_parallelism().map_or(1, |cores| u32::try_from(cores.get()).unwrap_or(u32::MAX))
}

fn log_level() -> Result<tracing::Level, String> {
    use tracing::Level;
    let Some(name) = variables::get(variables::RUNPOD_LOG_LEVEL) else { return Ok(Level::INFO) };
    match name.to_ascii_uppercase().as_str() {
        "NOTSET" | "TRACE" => Ok(Level::TRACE),
        "DEBUG" => Ok(Level::DEBUG),
        "INFO" => Ok(Level::INFO),
        "WARN" | "WARNING" => Ok(Level::WARN),
        "ERROR" => Ok(Level::ERROR),
        _ => Err(format!(
            "{} is `{name}`, expected TRACE, DEBUG, INFO, WARN or ERROR",
            variables::RUNPOD_LOG_LEVEL
        )),
    }
}

impl Heartbeats {
    fn from_env(worker_id: &str, key: &str) -> Result<Option<Self>, String> {
        let interval: u64 = number(variables::RUNPOD_PING_INTERVAL, 10_000)?;
        Ok(variables::get(variables::RUNPOD_PING).map(|template| Self {
            url: expanded(&template, worker_id).replace("$ID", worker_id),
            // Runpod's worker rounds down to whole seconds, so that 999 ms would be a busy loop.
            interval: Duration::from_millis(interval.max(100)),
            key: key.to_owned(),
        }))
    }
}

/// Expands a URL template for this worker.
fn expanded(template: &str, worker_id: &str) -> String {
    let gpu = variables::get(variables::RUNPOD_GPU_TYPE_ID).unwrap_or_default();
    template.replace("$RUNPOD_POD_ID", worker_id).replace("$RUNPOD_GPU_TYPE_ID", &gpu.replace(' ', "%20"))
}

impl Runpod {
    fn from_env(take: &str, worker_id: &str, key: String) -> Result<Self, String> {
        let expand = |template: &str| expanded(template, worker_id);
        let output = variables::get(variables::RUNPOD_POST_OUTPUT).ok_or_else(|| {
            format!("{} is set but {} is not", variables::RUNPOD_GET_JOB, variables::RUNPOD_POST_OUTPUT)
        })?;
        Ok(Self {
            take: expand(take).replace("$ID", worker_id),
            output: expand(&output),
            stream: variables::get(variables::RUNPOD_POST_STREAM).map(|template| expand(&template)),
            heartbeats: Heartbeats::from_env(worker_id, &key)?,
            key,
        })
    }

    /// Adds a parameter, with `?` or `&` as needed.
    pub(super) fn with(url: &str, parameter: &str) -> String {
        let separator = if url.contains('?') { '&' } else { '?' };
        format!("{url}{separator}{parameter}")
    }

    /// The URL to take up to `wanted` jobs from.
    pub(super) fn take_url(&self, wanted: u32, in_progress: bool) -> String {
        let in_progress = format!("job_in_progress={}", u8::from(in_progress));
        if wanted > 1 {
            let batch = self.take.replace("/job-take/", "/job-take-batch/");
            Self::with(&Self::with(&batch, &format!("batch_size={wanted}")), &in_progress)
        } else {
            Self::with(&self.take, &in_progress)
        }
    }

    /// The URL that lists the jobs to stop; `None` if it cannot be derived.
    pub(super) fn stop_url(&self) -> Option<String> {
        self.take.contains("/job-take/").then(|| self.take.replace("/job-take/", "/job-stop/"))
    }
}

/// The value of a variable as a number.
///
/// # Errors
/// If the value is not a number; the error names the variable.
fn number<T: std::str::FromStr>(name: &str, default: T) -> Result<T, String> {
    match variables::get(name) {
        None => Ok(default),
        Some(text) => text.parse().map_err(|_| format!("{name} is `{text}`, expected a whole number")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runpod(take: &str) -> Runpod {
        Runpod {
            take: take.to_owned(),
            output: String::new(),
            stream: None,
            heartbeats: None,
            key: String::new(),
        }
    }

    #[test]
    fn take_and_stop_urls_are_derived_as_the_official_worker_does() {
        let urls = runpod("http://h/v2/e/job-take/w1?gpu=L4");
        assert_eq!(urls.take_url(1, false), "http://h/v2/e/job-take/w1?gpu=L4&job_in_progress=0");
        assert_eq!(
            urls.take_url(4, true),
            "http://h/v2/e/job-take-batch/w1?gpu=L4&batch_size=4&job_in_progress=1"
        );
        assert_eq!(urls.stop_url().as_deref(), Some("http://h/v2/e/job-stop/w1?gpu=L4"));
    }

    #[test]
    fn a_template_without_a_query_gets_a_question_mark() {
        assert_eq!(runpod("http://h/job-take/w").take_url(1, true), "http://h/job-take/w?job_in_progress=1");
        assert_eq!(runpod("http://h/elsewhere").stop_url(), None);
    }
}
