//! The answer when a request failed on a worker: which worker, and why.
use std::{error::Error, io, time::Duration};

use flash_protocol::ErrorKind;
use http::StatusCode;
use hyper_util::client::legacy;

use super::{
    super::{error::Refusal, limits::shown},
    limits::MAX_INTERIM,
};
use crate::{pool::Pool, worker_id::WorkerId};

/// A worker whose connection broke has probably died; the cause is known a moment later.
const CAUSE_LIMIT: Duration = Duration::from_millis(500);

/// What went wrong between the platform and a worker.
#[derive(Debug)]
pub(super) enum Failure {
    /// There was no connection, so the worker has seen nothing of the request.
    Connect { refused: bool, error: legacy::Error },
    /// It took the request, or part of it, and the connection broke.
    BrokeOff(String),
    /// Its exchange had ended, or it was ending itself, so the worker has seen nothing of the request.
    Unsent,
    /// It sent something that is not HTTP.
    NoHttp(legacy::Error),
    /// It gave no answer in time.
    Late,
    /// The end of its answer is not defined, or ambiguous.
    Unframed(&'static str),
    /// It sends too many interim responses.
    Endless,
    /// It declares an answer over the limit.
    TooLarge { declared: u64 },
    /// It switches to a protocol that was not requested.
    Unasked,
}

impl From<legacy::Error> for Failure {
    fn from(error: legacy::Error) -> Self {
        if error.is_connect() {
            let is_refusal = |cause: &io::Error| cause.kind() == io::ErrorKind::ConnectionRefused;
            let refused = causes(&error).any(|cause| cause.downcast_ref().is_some_and(is_refusal));
            return Self::Connect { refused, error };
        }
        let is_parse =
            |cause: &(dyn Error + 'static)| cause.downcast_ref().is_some_and(hyper::Error::is_parse);
        if causes(&error).any(is_parse) { Self::NoHttp(error) } else { Self::BrokeOff(chain(&error)) }
    }
}

impl Failure {
    /// The answer to the client.
    pub(super) async fn refusal(self, pool: &Pool, worker: &WorkerId) -> Refusal {
        let seconds = pool.worker_type.request_timeout().as_secs();
        let (status, kind) = match self {
            Self::Late => (StatusCode::GATEWAY_TIMEOUT, ErrorKind::Timeout),
            _ => (StatusCode::BAD_GATEWAY, ErrorKind::Transport),
        };
        let problem = match self {
            Self::Connect { error, .. } => {
                let why = end_of(pool, worker).await.unwrap_or_else(|| chain(&error));
                format!("does not accept connections: {why}")
            }
            Self::BrokeOff(why) => match end_of(pool, worker).await {
                Some(end) => format!("ended before it answered: {end}"),
                None => format!("closed the connection before it answered: {why}"),
            },
            Self::Unsent => match end_of(pool, worker).await {
                Some(end) => format!("has ended: {end}"),
                None => "is ending".to_owned(),
            },
            Self::NoHttp(error) => format!("answered with something that is not HTTP: {}", chain(&error)),
            Self::Unframed(why) => format!("answered with {why}"),
            Self::Endless => format!("sent more than {MAX_INTERIM} interim responses before its answer"),
            Self::Late => format!("did not answer within {seconds} s"),
            Self::TooLarge { declared } => {
                let limit = shown(pool.worker_type.max_body_bytes());
                format!("answered with {declared} bytes; the limit is {limit}")
            }
            Self::Unasked => "switched to a protocol that the client did not request".to_owned(),
        };
        let message = format!("worker `{worker}` of endpoint `{}` {problem}", pool.worker_type.name);
        Refusal::new(status, kind, message).served_by(worker)
    }
}

async fn end_of(pool: &Pool, worker: &WorkerId) -> Option<String> {
    pool.end_of(worker, CAUSE_LIMIT).await
}

fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |error| (*error).source())
}

fn chain(error: &(dyn Error + 'static)) -> String {
    causes(error).map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
