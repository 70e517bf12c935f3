//! `run` and `runsync`.
use std::sync::Arc;

use axum::{
    Extension,
    body::Body,
    extract::State,
    response::{IntoResponse as _, Response},
};
use http::HeaderMap;

use super::{
    super::{
        coding::check_coding,
        error::Refusal,
        extract::{Parameters, Segments},
        limits::{MAX_RUN_BYTES, MAX_RUNSYNC_BYTES},
        request_id::{RequestId, trace_parent},
        respond::{job_response, job_summary},
        state::GatewayState,
        submission::{Arrived, JobOptions, submission, submit_and_wait},
    },
    check::{Checked, check},
    find::{queue_of, queue_with},
    wait::Wait,
};
use crate::{
    large_input::work_on,
    queue::{Abandoned, Idempotency, Origin},
};

/// The header with a client's idempotency key.
const IDEMPOTENCY_KEY: &str = "idempotency-key";
/// The header that reports a known key: the job is that of the first request.
const REPLAYED: &str = "idempotent-replayed";
const MAX_KEY_BYTES: usize = 255;

fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, Refusal> {
    let Some(key) = headers.get(IDEMPOTENCY_KEY) else { return Ok(None) };
    let visible = |key: &&str| {
        (1..=MAX_KEY_BYTES).contains(&key.len()) && key.bytes().all(|byte| byte.is_ascii_graphic())
    };
    match key.to_str().ok().filter(visible) {
        Some(key) => Ok(Some(key.to_owned())),
        None => Err(Refusal::bad_request(format!(
            "the header Idempotency-Key must be 1 to {MAX_KEY_BYTES} visible ASCII characters"
        ))),
    }
}

pub(in super::super) async fn run(
    State(state): State<Arc<GatewayState>>,
    Extension(request_id): Extension<RequestId>,
    Segments(endpoint): Segments<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    queue_of(state.live()?.as_ref(), &endpoint)?;
    let key = idempotency_key(&headers)?;
    check_coding(&headers)?;
    let arrived = Arrived::read(&state.budget, body, MAX_RUN_BYTES).await?;
    // Read again, because a slow body may outlive its release.
    let release = state.live()?;
    let queue = queue_of(&release, &endpoint)?;
    let Checked { input, envelope, options } = work_on(arrived.body.len(), || {
        check(&release, &endpoint, request_id, trace_parent(&headers), &arrived.body)
    })?;
    drop(arrived);
    let options = JobOptions { idempotency_key: key, ..options };
    let submitted = queue.submit(submission(Origin::Run, input, envelope, options))?;
    queue.stored(&submitted).await?;
    let id = submitted.id.to_string();
    if submitted.idempotency == Idempotency::New {
        return Ok(job_summary(&id, "IN_QUEUE"));
    }
    // It may be in another release. No release has it only if it expired at this moment, or if it waits for its
    // release to be restored.
    let status = match queue_with(&state, &endpoint, &id) {
        Ok((queue, job)) => queue.status(job).await?.map_or("IN_QUEUE", |job| job.status.as_str()),
        Err(_) => "IN_QUEUE",
    };
    Ok(([(REPLAYED, "true")], job_summary(&id, status)).into_response())
}

pub(in super::super) async fn runsync(
    State(state): State<Arc<GatewayState>>,
    Extension(request_id): Extension<RequestId>,
    Segments(endpoint): Segments<String>,
    Parameters(wait): Parameters<Wait>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    queue_of(state.live()?.as_ref(), &endpoint)?;
    if headers.contains_key(IDEMPOTENCY_KEY) {
        return Err(Refusal::bad_request(
            "the header Idempotency-Key works only with run: use run, then status-sync",
        ));
    }
    check_coding(&headers)?;
    let arrived = Arrived::read(&state.budget, body, MAX_RUNSYNC_BYTES).await?;
    let release = state.live()?;
    let queue = queue_of(&release, &endpoint)?;
    let Checked { input, envelope, options } = work_on(arrived.body.len(), || {
        check(&release, &endpoint, request_id, trace_parent(&headers), &arrived.body)
    })?;
    drop(arrived);
    let job = submit_and_wait(queue, input, envelope, options, wait.bounded(), Abandoned::RunsOn).await?;
    job_response(&job)
}
