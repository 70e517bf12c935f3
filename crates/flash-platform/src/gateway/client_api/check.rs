//! Checks the body of `run` and `runsync`.
use std::time::Duration;

use flash_protocol::{
    FieldError,
    manifest::FunctionEntry,
    wire::{
        RawJson,
        envelope::{self, Envelope},
        fault,
        identity::TraceParent,
        job::{JobRequest, Policy},
    },
};
use flash_text::{Truncated, nearest};

use super::{
    super::{
        error::Refusal,
        input::{check_input, read_input},
        nesting,
        request_id::RequestId,
        submission::JobOptions,
    },
    find::pool_of,
};
use crate::release::Release;

/// Longest URL of a webhook.
const MAX_URL_BYTES: usize = 2048;

/// A validated body.
pub(super) struct Checked {
    pub input: RawJson,
    pub envelope: Envelope,
    pub options: JobOptions,
}

/// Parses and checks the body of `run` and `runsync`. Request ID and trace in the headers take precedence over the
/// body.
pub(super) fn check(
    release: &Release,
    endpoint: &str,
    request_id: RequestId,
    trace: Option<TraceParent>,
    body: &[u8],
) -> Result<Checked, Refusal> {
    nesting::check(body, 1)?;
    // serde would read a list as the fields in order.
    if body.trim_ascii_start().first() == Some(&b'[') {
        return Err(Refusal::bad_request("the body is a list, not a job: send {\"input\": {…}}"));
    }
    let request: JobRequest = serde_json::from_slice(body).map_err(|error| match error.classify() {
        serde_json::error::Category::Data => Refusal::bad_request(format!(
            "the body is not a job: {}; send {{\"input\": {{…}}}}",
            fault(&error)
        )),
        _ => Refusal::bad_request(format!("the body is not valid JSON: {}", fault(&error))),
    })?;
    let options = options(&request)?;
    let input = request.input.ok_or_else(|| field("/input", "missing".to_owned()))?;
    if pool_of(release, endpoint)?.command().is_some() {
        // A program has no functions and no schema, so its input is passed on unchanged.
        let request_id = Some(request_id.or_of_body(None));
        let envelope = Envelope { request_id, traceparent: trace, ..Envelope::default() };
        return Ok(Checked { input, envelope, options });
    }
    let (mut envelope, input) = envelope::open(input);
    // The headers contain the request ID; the envelope is for paths on which headers are lost.
    envelope.request_id = Some(request_id.or_of_body(envelope.request_id));
    envelope.traceparent = trace.or(envelope.traceparent);
    let function = function_of(release, endpoint, envelope.function.as_deref());
    // The function's name is in the input, so an invalid input must not be reported as a missing name.
    let function = function.map_err(|refusal| read_input(&input).err().unwrap_or(refusal))?;
    envelope.function = Some(release.function(function).call_name().into());
    check_input(release, function, &input)?;
    Ok(Checked { input, envelope, options })
}

fn field(path: &str, message: String) -> Refusal {
    Refusal::unprocessable(vec![FieldError::new(path, message)])
}

fn options(request: &JobRequest) -> Result<JobOptions, Refusal> {
    request.policy.check().map_err(|wrong| Refusal::unprocessable(vec![wrong]))?;
    let Policy { execution_timeout, ttl, low_priority } = request.policy;
    if let Some(url) = &request.webhook {
        let is_http = reqwest::Url::parse(url).is_ok_and(|url| matches!(url.scheme(), "http" | "https"));
        if !is_http || url.len() > MAX_URL_BYTES {
            return Err(field(
                "/webhook",
                format!("expected an http or https URL of at most {MAX_URL_BYTES} bytes"),
            ));
        }
    }
    Ok(JobOptions {
        execution_timeout: execution_timeout.map(Duration::from_millis),
        ttl: ttl.map(Duration::from_millis),
        low_priority,
        webhook: request.webhook.clone(),
        s3_config: request.s3_config.as_ref().map(|config| config.get().to_owned()),
        idempotency_key: None,
    })
}

/// The function that a job is for: the named one, or the only one.
fn function_of(release: &Release, endpoint: &str, name: Option<&str>) -> Result<usize, Refusal> {
    let all =
        || release.manifest.functions.iter().enumerate().filter(|(_, function)| function.worker == endpoint);
    let is_named =
        |function: &FunctionEntry, name: &str| function.call_name() == name || function.name == name;
    let found = match name {
        Some(name) => all().find(|(_, function)| is_named(function, name)).map(|(index, _)| index),
        None => match (all().next(), all().nth(1)) {
            (Some((only, _)), None) => Some(only),
            _ => None,
        },
    };
    found.ok_or_else(|| {
        let known: Vec<String> = all().map(|(_, function)| function.call_name()).collect();
        let message = match name {
            Some(name) => {
                let near = nearest(name, known.iter().map(String::as_str));
                format!("endpoint `{endpoint}` has no function `{}`{near}", Truncated(name))
            }
            None => format!(
                "endpoint `{endpoint}` has several functions (`{}`): choose one with {{\"input\": \
                 {{\"__flash\": {{\"function\": \"…\"}}, …}}}}",
                known.join("`, `")
            ),
        };
        field("/input/__flash/function", message)
    })
}
