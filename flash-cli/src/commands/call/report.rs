//! The outcome of a call, for people and for programs.
use std::{path::Path, time::Duration};

use flash_protocol::{
    WireError,
    catalogue::NanoDollars,
    wire::{
        RawJson, base64,
        job::{JobObject, JobStatus},
    },
};
use serde::Serialize;
use serde_json::value::RawValue;

use crate::{exit::Failure, output::Output};

/// How to report a call.
pub(super) struct Reporter<'a> {
    /// The command that shows the logs.
    pub logs: &'a str,
    /// The price of one second of the worker, for platforms that do not report a job's cost.
    pub price_per_second: Option<NanoDollars>,
    pub output: &'a Output,
    /// What becomes of the result.
    pub result: ResultPrinting<'a>,
}

/// How a result is printed, and where.
#[derive(Debug, Clone, Copy)]
pub(super) struct ResultPrinting<'a> {
    /// Whether it is bytes, which are printed as they are.
    pub is_bytes: bool,
    /// To this file instead of stdout.
    pub file: Option<&'a Path>,
}

/// The outcome of a call: everything that `--json` prints.
#[derive(Debug, Default, Serialize)]
pub(super) struct CallOutcome {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output: Option<RawJson>,
    /// For a job, the queue's status; for a route, the HTTP status.
    pub status: String,
    /// The job's times.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delay_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub execution_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cost_nanodollars: Option<u64>,
    /// For a job whose platform does not report a cost: estimated from its time and the price list.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub estimated_nanodollars: Option<u64>,
    pub request_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<WireError>,
}

impl CallOutcome {
    /// A job and its current state.
    pub(super) fn of_job(job: JobObject, request_id: &str, stage: &str) -> Self {
        let error = job.failure().map(|mut error| {
            error.stage.get_or_insert_with(|| stage.to_owned());
            error
        });
        Self {
            // While a job runs, its output is its progress.
            output: job.output.filter(|_| job.status == JobStatus::Completed),
            status: job.status.as_str().to_owned(),
            id: Some(job.id),
            delay_ms: job.delay_time,
            execution_ms: job.execution_time,
            cost_nanodollars: job.cost_nano_dollars,
            estimated_nanodollars: None,
            request_id: request_id.to_owned(),
            error,
        }
    }
}

impl Reporter<'_> {
    /// Prints a chunk on one line.
    pub(super) fn chunk(&self, chunk: &RawValue) {
        self.output.line(&one_line(chunk));
    }

    /// Prints the result, or the reason why there is none.
    ///
    /// # Errors
    /// When the call failed.
    pub(super) fn end(&self, mut outcome: CallOutcome, took: Duration) -> Result<(), Failure> {
        if let (None, Some(price), Some(ms)) =
            (outcome.cost_nanodollars, self.price_per_second, outcome.execution_ms)
        {
            outcome.estimated_nanodollars = Some(price.0.saturating_mul(ms) / 1000);
        }
        if let Some(file) = self.result.file.filter(|_| outcome.error.is_none()) {
            self.write(file, outcome.output.take())?;
        }
        if self.output.is_json() {
            self.output.object(&outcome);
        } else if let Some(output) = &outcome.output {
            match self.bytes(output) {
                Some(bytes) => self.output.raw(bytes),
                None => self.output.line(&indented(output)),
            }
        }
        if !self.output.is_json() || outcome.error.is_some() {
            // Where both are one terminal, the result is above.
            self.output.flush();
            self.output.status(&outcome.status, &line(&outcome, took));
        }
        match outcome.error {
            None => Ok(()),
            Some(error) => Err(self.failed(&error, &outcome.request_id)),
        }
    }

    /// The bytes of a result that is bytes.
    fn bytes(&self, output: &RawValue) -> Option<Vec<u8>> {
        let text: Option<String> = serde_json::from_str(output.get()).ok().filter(|_| self.result.is_bytes);
        text.and_then(|text| base64::decode(&text))
    }

    /// Writes the result to a file.
    ///
    /// # Errors
    /// When that is not possible.
    fn write(&self, file: &Path, output: Option<RawJson>) -> Result<(), Failure> {
        let Some(output) = output else { return Ok(()) };
        let content = self.bytes(&output).unwrap_or_else(|| format!("{}\n", indented(&output)).into_bytes());
        std::fs::write(file, content).map_err(|error| {
            Failure::failed(format!("the call succeeded, but {} cannot be written: {error}", file.display()))
        })
    }

    /// An error of the function, or of one that it called.
    pub(super) fn failed(&self, error: &WireError, request_id: &str) -> Failure {
        let request = error.request_id.as_deref().unwrap_or(request_id);
        let stage = error.stage.as_deref().map_or_else(String::new, |stage| format!("`{stage}` failed: "));
        let fields = error.fields.iter().map(|field| format!("\n  `{}`: {}", field.path, field.message));
        let fields: String = fields.collect();
        Failure::failed(format!("{stage}{}{fields} (request {request})", error.chain()))
            .hint(format!("{} --request {request}", self.logs))
    }
}

fn line(outcome: &CallOutcome, took: Duration) -> String {
    let mut parts = vec![format!("in {:.2} s", took.as_secs_f64())];
    let times = [("waited", outcome.delay_ms), ("ran", outcome.execution_ms)];
    let times: Vec<String> =
        times.iter().filter_map(|(what, ms)| Some(format!("{what} {} ms", (*ms)?))).collect();
    if !times.is_empty() {
        parts[0] = format!("{} ({})", parts[0], times.join(", "));
    }
    parts.extend(outcome.cost_nanodollars.map(|cost| NanoDollars(cost).to_string()));
    parts.extend(outcome.estimated_nanodollars.map(|cost| format!("about {}", NanoDollars(cost))));
    parts.push(format!("request {}", outcome.request_id));
    parts.join(", ")
}

/// Pretty-printed JSON. Numbers that a `Value` cannot hold exactly are printed as they came.
fn indented(raw: &RawValue) -> String {
    let parsed: Result<serde_json::Value, _> = serde_json::from_str(raw.get());
    let pretty = parsed.ok().and_then(|value| serde_json::to_string_pretty(&value).ok());
    pretty.unwrap_or_else(|| raw.get().to_owned())
}

/// JSON strings contain no raw line breaks, so any line break is white space.
fn one_line(raw: &RawValue) -> String {
    raw.get().replace(['\n', '\r'], " ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::Format;

    fn job(text: &str) -> CallOutcome {
        CallOutcome::of_job(serde_json::from_str(text).unwrap(), "r1", "worker/f")
    }

    #[test]
    fn the_line_says_status_time_cost_and_request() {
        let done = job(
            r#"{"id":"j","status":"COMPLETED","output":3,"delayTime":80,"executionTime":12,"costNanoDollars":2400}"#,
        );
        let text = line(&done, Duration::from_millis(123));
        assert_eq!(text, "in 0.12 s (waited 80 ms, ran 12 ms), $0.000002400, request r1");
        let json = serde_json::to_value(&done).unwrap();
        assert_eq!(
            json,
            serde_json::json!({
                "output": 3, "status": "COMPLETED", "id": "j", "delay_ms": 80, "execution_ms": 12,
                "cost_nanodollars": 2400, "request_id": "r1",
            })
        );
    }

    #[test]
    fn a_failed_job_names_stage_request_and_where_the_log_is() {
        let output = Output::new(Format::Text);
        let result = ResultPrinting { is_bytes: false, file: None };
        let reporter =
            Reporter { logs: "flash logs production", price_per_second: None, output: &output, result };
        let failed = job(
            r#"{"id":"j","status":"FAILED","error":"{\"error_type\":\"ValueError\",\"error_message\":\"boom\"}"}"#,
        );
        let message = reporter.failed(&failed.error.unwrap(), "r1").to_string();
        assert_eq!(
            message,
            "`worker/f` failed: boom (request r1)\n  hint: flash logs production --request r1"
        );
        for (text, part) in [
            (r#"{"id":"j","status":"CANCELLED"}"#, "cancelled"),
            (r#"{"id":"j","status":"TIMED_OUT"}"#, "timed out"),
        ] {
            assert!(job(text).error.unwrap().message.contains(part), "{text}");
        }
        assert!(job(r#"{"id":"j","status":"IN_PROGRESS","output":1}"#).output.is_none());
    }
}
