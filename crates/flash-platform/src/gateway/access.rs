//! Access control: a key if one is set, and no requests from web pages of other sites.
//!
//! The worker API has its own keys and is handled by `worker_api`. `keys` stores keys, `request_key` finds the key in a
//! request, `hosts` decides who needs no key, and `attempts` limits failed attempts.
use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::Instant,
};

use axum::{
    extract::{ConnectInfo, Request, State},
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use http::StatusCode;
use parking_lot::Mutex;

use super::{
    attempts::{Answer, Attempts, LogDecision},
    error::Refusal,
    hosts,
    keys::{Access, Owner},
    request_key,
};
use crate::{LogLine, Platform, Sink};

/// Who may send requests to a platform.
pub(crate) struct AccessControl {
    access: Access,
    failed: Mutex<Attempts>,
    log: Sink,
}

/// Why a request is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Denial {
    NoKey,
    /// It is the key of another environment.
    Elsewhere,
    /// The key is unknown.
    Unknown,
}

impl Denial {
    fn refusal(self, access: &Access) -> Refusal {
        let (status, message) = match (self, access) {
            (Self::NoKey, _) => (StatusCode::UNAUTHORIZED, "no key: send `Authorization: Bearer KEY`"),
            (Self::Elsewhere, _) => (
                StatusCode::FORBIDDEN,
                "this key belongs to another environment: send a key of this environment",
            ),
            (Self::Unknown, Access::Ring(_)) => {
                (StatusCode::UNAUTHORIZED, "unknown key; it may have been revoked")
            }
            (Self::Unknown, _) => (
                StatusCode::UNAUTHORIZED,
                "wrong key: send the FLASH_API_KEY that `flash run` was started with",
            ),
        };
        Refusal::new(status, flash_protocol::ErrorKind::Refused, message)
    }

    /// For the log. Never names the key.
    fn what(self) -> &'static str {
        match self {
            Self::NoKey => "no key",
            Self::Elsewhere => "a key of another environment",
            Self::Unknown => "an unknown key",
        }
    }
}

impl AccessControl {
    pub(crate) fn new(access: Access, log: Sink) -> Self {
        Self { access, failed: Mutex::default(), log }
    }

    /// Whether this belongs to an environment, not to `flash run`.
    pub(super) fn is_of_environment(&self) -> bool {
        matches!(self.access, Access::Ring(_))
    }

    /// Whether a key is accepted. Workers' keys are accepted for calls.
    fn admits(&self, given: Option<&str>, is_key_of_a_worker: impl Fn(&str) -> bool) -> Result<(), Denial> {
        let given = given.ok_or(Denial::NoKey)?;
        let owner = match &self.access {
            Access::Open(_) => Owner::Own,
            Access::Key(key) if key.opens(given) => Owner::Own,
            Access::Key(_) => Owner::Nobody,
            Access::Ring(ring) => ring.owner(given),
        };
        match owner {
            Owner::Own => Ok(()),
            _ if is_key_of_a_worker(given) => Ok(()),
            Owner::Other => Err(Denial::Elsewhere),
            Owner::Nobody => Err(Denial::Unknown),
        }
    }

    /// Whether this is a key of any environment, including those that are not accepted here.
    fn is_key(&self, given: &str) -> bool {
        match &self.access {
            Access::Open(_) => false,
            Access::Key(key) => key.opens(given),
            Access::Ring(ring) => ring.owner(given) != Owner::Nobody,
        }
    }

    /// Handles a failed attempt: logs it and returns the answer.
    fn refuse(&self, denial: Denial, client: IpAddr, asked: &str) -> Refusal {
        let mut failed = self.failed.lock();
        let (answer, decision) = failed.failed(client, Instant::now());
        drop(failed);
        if let LogDecision::Line { unlogged } = decision {
            let more = if unlogged > 0 { format!(" (and {unlogged} more before)") } else { String::new() };
            self.say(format!("refused {asked} from {client}: {}{more}", denial.what()));
        }
        match answer {
            Answer::Why => denial.refusal(&self.access),
            Answer::ComeBack(seconds) => {
                Refusal::too_many("too many attempts without a valid key").after(seconds)
            }
        }
    }

    /// Logs failed attempts that have not been logged yet.
    pub(crate) fn log_rest(&self) {
        let unlogged = self.failed.lock().unlogged(Instant::now());
        for (client, count) in unlogged {
            self.say(format!("refused {count} more requests from {client} without a valid key"));
        }
    }

    fn say(&self, text: String) {
        (self.log)(LogLine::system("platform", None, text));
    }
}

/// Operations of the worker API, by the third segment of their path.
const WORKER_API: [&str; 7] =
    ["exchange", "job-take", "job-take-batch", "job-stop", "job-done", "job-stream", "ping"];

/// Operations of the client API on a whole endpoint.
const OVERVIEW: [&str; 4] = ["purge-queue", "requests", "metrics", "dead"];

/// Maximum length of a path in a log line, because clients choose it.
const MAX_PATH: usize = 100;

/// Lets an allowed request through, with its key removed.
pub(super) async fn check(State(platform): State<Platform>, mut request: Request, next: Next) -> Response {
    let path = request.uri().path();
    let operation = operation(path);
    if operation.is_some_and(|operation| WORKER_API.contains(&operation)) || path == "/ping" {
        return next.run(request).await;
    }
    let opened = match admitted(&platform, &request) {
        Ok(opened) => opened.map(str::to_owned),
        Err(refusal) => return refusal.into_response(),
    };
    let control = &platform.shared.access_control;
    let is_key = |given: &str| control.is_key(given) || platform.is_key_of_a_worker(given);
    request_key::take_out(&mut request, opened.as_deref(), is_key);
    next.run(request).await
}

/// The third segment of a path of the queue API.
fn operation(path: &str) -> Option<&str> {
    path.strip_prefix("/v2/").and_then(|rest| rest.split('/').nth(1))
}

/// The accepted key, if a key is required.
fn admitted<'a>(platform: &Platform, request: &'a Request) -> Result<Option<&'a str>, Refusal> {
    let path = request.uri().path();
    let control = &platform.shared.access_control;
    if let Access::Open(allowed) = &control.access {
        return hosts::check(request, allowed).map(|()| None);
    }
    let given = request_key::key_of(request.headers());
    // A worker may call other functions with its key, but nothing else.
    let is_call =
        !path.starts_with("/_flash/") && !operation(path).is_some_and(|own| OVERVIEW.contains(&own));
    match control.admits(given, |key| is_call && platform.is_key_of_a_worker(key)) {
        Ok(()) => Ok(given),
        Err(denial) => {
            let asked: String = path.chars().take(MAX_PATH).collect();
            Err(control.refuse(denial, client(request), &format!("{} {asked}", request.method())))
        }
    }
}

/// The client. All clients with an unknown address count as one.
pub(super) fn client(request: &Request) -> IpAddr {
    let address = request.extensions().get::<ConnectInfo<SocketAddr>>();
    address.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |ConnectInfo(address)| address.ip())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::{
        super::keys::{KeyHash, KeyRing},
        *,
    };

    /// The access control of an environment with the key `own` (another environment has `other`), and its log lines.
    fn access_control() -> (AccessControl, Arc<Mutex<Vec<String>>>) {
        let ring = Arc::new(KeyRing::new());
        ring.set(vec![KeyHash::of("own")], vec![KeyHash::of("other")]);
        let lines: Arc<Mutex<Vec<String>>> = Arc::default();
        let heard = lines.clone();
        let log: Sink = Arc::new(move |line| heard.lock().push(line.text));
        (AccessControl::new(Access::Ring(ring), log), lines)
    }

    const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    #[test]
    fn without_a_key_and_with_an_unknown_one_it_is_401_and_with_a_neighbours_403() {
        let (control, _) = access_control();
        let answer = |given: Option<&str>| {
            let denial = control.admits(given, |key| key == "worker").err()?;
            Some(control.refuse(denial, CLIENT, "GET /docs").status().as_u16())
        };
        assert_eq!([None, Some("nope"), Some("")].map(answer), [Some(401); 3]);
        assert_eq!(answer(Some("other")), Some(403));
        assert_eq!([Some("own"), Some("worker")].map(answer), [None, None]);
    }

    #[test]
    fn who_guesses_is_slowed_down_and_the_right_key_still_opens() {
        let (control, lines) = access_control();
        let refusals: Vec<Refusal> = (0..100)
            .map(|_| {
                control.refuse(
                    control.admits(Some("sesame"), |_| false).unwrap_err(),
                    CLIENT,
                    "POST /v2/x/run",
                )
            })
            .collect();
        let statuses: Vec<u16> = refusals.iter().map(|refusal| refusal.status().as_u16()).collect();
        assert_eq!((&statuses[..30], statuses[99]), (&[401; 30][..], 429));
        assert!(control.admits(Some("own"), |_| false).is_ok());
        let lines = lines.lock();
        assert!((1..=6).contains(&lines.len()), "{lines:?}");
        assert_eq!(lines[0], "refused POST /v2/x/run from 127.0.0.1: an unknown key");
        assert!(!lines.iter().any(|line| line.contains("sesame")));
    }
}
