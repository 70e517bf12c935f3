//! Who may ask: a key where one is set, and no web pages of strangers.
//!
//! The worker API has keys of its own and is left to `worker_api`; keys are `keys`' matter, and how often
//! somebody may fail that of `attempts`.
use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::{Mutex, PoisonError},
    time::Instant,
};

use axum::{
    extract::{ConnectInfo, Request, State},
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use http::{HeaderMap, StatusCode, Uri, header};

use super::{
    attempts::{Answer, Attempts, Tell},
    error::Refusal,
    keys::{Access, Owner},
};
use crate::platform::{LogLine, Platform, Sink};

/// The door of a platform.
pub(crate) struct Door {
    access: Access,
    failed: Mutex<Attempts>,
    log: Sink,
}

/// Why somebody may not come in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Denial {
    NoKey,
    /// It is the key of another environment.
    Elsewhere,
    /// Nobody has this key.
    Unknown,
}

impl Denial {
    fn refusal(self, access: &Access) -> Refusal {
        let (status, message) = match (self, access) {
            (Self::NoKey, _) => (StatusCode::UNAUTHORIZED, "no key: send `Authorization: Bearer KEY`"),
            (Self::Elsewhere, _) => (
                StatusCode::FORBIDDEN,
                "this is the key of another environment: send one of the environment that you ask",
            ),
            (Self::Unknown, Access::Ring(_)) => {
                (StatusCode::UNAUTHORIZED, "the key is unknown; it may have been revoked")
            }
            (Self::Unknown, _) => {
                (StatusCode::UNAUTHORIZED, "the key is not the one that this platform was started with")
            }
        };
        Refusal::new(status, flash_sdk::ErrorKind::Refused, message)
    }

    /// For the log. Never names the key.
    fn what(self) -> &'static str {
        match self {
            Self::NoKey => "no key",
            Self::Elsewhere => "the key of another environment",
            Self::Unknown => "an unknown key",
        }
    }
}

impl Door {
    pub(crate) fn new(access: Access, log: Sink) -> Self {
        Self { access, failed: Mutex::default(), log }
    }

    /// Whether this is the door of an environment, rather than of a `flash run`.
    pub(super) fn is_of_environment(&self) -> bool {
        matches!(self.access, Access::Ring(_))
    }

    /// Whether a key opens. Those of workers open calls.
    fn admits(&self, given: Option<&str>, is_key_of_a_worker: impl Fn(&str) -> bool) -> Result<(), Denial> {
        let given = given.ok_or(Denial::NoKey)?;
        let owner = match &self.access {
            Access::Open => Owner::Own,
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

    /// An attempt failed: what its client hears. The log does too.
    fn refuse(&self, denial: Denial, client: IpAddr, asked: &str) -> Refusal {
        let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        let (answer, tell) = failed.failed(client, Instant::now());
        drop(failed);
        if let Tell::Line { untold } = tell {
            let more = if untold > 0 { format!(" (and {untold} more before)") } else { String::new() };
            self.say(format!("refused {asked} from {client}: {}{more}", denial.what()));
        }
        match answer {
            Answer::Why => denial.refusal(&self.access),
            Answer::ComeBack(seconds) => {
                Refusal::too_many("too many attempts without a right key").after(seconds)
            }
        }
    }

    /// Tells the log of failed attempts that there was no line for.
    pub(crate) fn tell_rest(&self) {
        let untold = self.failed.lock().unwrap_or_else(PoisonError::into_inner).untold(Instant::now());
        for (client, count) in untold {
            self.say(format!("refused {count} more requests from {client} without a right key"));
        }
    }

    fn say(&self, text: String) {
        (self.log)(LogLine::system("platform", None, text));
    }
}

/// Operations of the worker API, by the third segment of their path.
const WORKER_API: [&str; 7] =
    ["exchange", "job-take", "job-take-batch", "job-stop", "job-done", "job-stream", "ping"];

/// Operations of the client API that look at or change a whole endpoint.
const OVERVIEW: [&str; 4] = ["purge-queue", "requests", "metrics", "dead"];

/// Characters of a path in a line of the log: clients choose them.
const MAX_PATH: usize = 100;

/// Lets a request through that may come in.
pub(super) async fn check(State(platform): State<Platform>, request: Request, next: Next) -> Response {
    match admitted(&platform, &request) {
        Ok(()) => next.run(request).await,
        Err(refusal) => refusal.into_response(),
    }
}

fn admitted(platform: &Platform, request: &Request) -> Result<(), Refusal> {
    let path = request.uri().path();
    let operation = path.strip_prefix("/v2/").and_then(|rest| rest.split('/').nth(1));
    if operation.is_some_and(|operation| WORKER_API.contains(&operation)) || path == "/ping" {
        return Ok(());
    }
    let door = &platform.shared.door;
    if matches!(door.access, Access::Open) {
        return from_here(request, platform.shared.address.ip().is_loopback());
    }
    let given = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let given = given.map(|given| given.strip_prefix("Bearer ").unwrap_or(given).trim());
    // A worker calls other functions with its own key, and sees to nothing else.
    let is_call = !path.starts_with("/_flash/") && !operation.is_some_and(|own| OVERVIEW.contains(&own));
    door.admits(given, |key| is_call && platform.is_key_of_a_worker(key)).map_err(|denial| {
        let asked: String = path.chars().take(MAX_PATH).collect();
        door.refuse(denial, client(request), &format!("{} {asked}", request.method()))
    })
}

/// Who asks. All whose address is unknown are one.
fn client(request: &Request) -> IpAddr {
    let address = request.extensions().get::<ConnectInfo<SocketAddr>>();
    address.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |ConnectInfo(address)| address.ip())
}

/// Without a key, whoever reaches the port may ask. A browser reaches it for any page that it shows, so a
/// page from elsewhere is refused: one that says so (`Origin`), and on loopback also one whose own name was
/// pointed at this machine (`Host`).
fn from_here(request: &Request, on_loopback: bool) -> Result<(), Refusal> {
    let headers = request.headers();
    let asked = asked_host(headers);
    let is_known_here = !on_loopback || asked.is_none_or(is_this_machine);
    let origin = headers.get(header::ORIGIN).map(|origin| origin.to_str().unwrap_or_default());
    let is_own_page = origin.is_none_or(|origin| {
        let origin = origin.parse::<Uri>().ok();
        let host = origin.as_ref().and_then(Uri::host);
        host.is_some_and(|host| is_this_machine(host) || asked == Some(host))
    });
    if is_known_here && is_own_page {
        return Ok(());
    }
    let message = "a web page from elsewhere may not ask: set FLASH_API_KEY and send it as a bearer token";
    Err(Refusal::new(StatusCode::FORBIDDEN, flash_sdk::ErrorKind::Refused, message))
}

fn is_this_machine(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    host == "localhost" || host.ends_with(".localhost") || address.is_ok_and(|address| address.is_loopback())
}

/// The host that the client asked for, without its port.
fn asked_host(headers: &HeaderMap) -> Option<&str> {
    let host = headers.get(header::HOST)?.to_str().ok()?;
    // An IPv6 address has colons of its own, inside of brackets.
    let end = host.rfind(']').map_or_else(|| host.find(':'), |bracket| Some(bracket + 1));
    end.map_or(Some(host), |end| host.get(..end))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::{
        super::keys::{KeyHash, KeyRing},
        *,
    };

    fn request(headers: &[(&str, &str)]) -> Request {
        let mut request = http::Request::builder().uri("/v2/x/run");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(axum::body::Body::empty()).unwrap()
    }

    /// A door of an environment with the key `own`, its neighbour's being `other`, and what the log hears.
    fn door() -> (Door, Arc<Mutex<Vec<String>>>) {
        let ring = Arc::new(KeyRing::new());
        ring.set(vec![KeyHash::of("own")], vec![KeyHash::of("other")]);
        let lines: Arc<Mutex<Vec<String>>> = Arc::default();
        let heard = lines.clone();
        let log: Sink = Arc::new(move |line| heard.lock().unwrap().push(line.text));
        (Door::new(Access::Ring(ring), log), lines)
    }

    const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    #[test]
    fn without_a_key_and_with_an_unknown_one_it_is_401_and_with_a_neighbours_403() {
        let (door, _) = door();
        let answer = |given: Option<&str>| {
            let denial = door.admits(given, |key| key == "worker").err()?;
            Some(door.refuse(denial, CLIENT, "GET /docs").status().as_u16())
        };
        assert_eq!([None, Some("nope"), Some("")].map(answer), [Some(401); 3]);
        assert_eq!(answer(Some("other")), Some(403));
        assert_eq!([Some("own"), Some("worker")].map(answer), [None, None]);
    }

    #[test]
    fn who_guesses_is_slowed_down_and_the_right_key_still_opens() {
        let (door, lines) = door();
        let refusals: Vec<Refusal> = (0..100)
            .map(|_| {
                door.refuse(door.admits(Some("sesame"), |_| false).unwrap_err(), CLIENT, "POST /v2/x/run")
            })
            .collect();
        let statuses: Vec<u16> = refusals.iter().map(|refusal| refusal.status().as_u16()).collect();
        assert_eq!((&statuses[..30], statuses[99]), (&[401; 30][..], 429));
        assert!(door.admits(Some("own"), |_| false).is_ok());
        let lines = lines.lock().unwrap();
        assert!((1..=6).contains(&lines.len()), "{lines:?}");
        assert_eq!(lines[0], "refused POST /v2/x/run from 127.0.0.1: an unknown key");
        assert!(!lines.iter().any(|line| line.contains("sesame")));
    }

    #[test]
    fn pages_from_elsewhere_are_refused_and_everything_else_may_ask() {
        let allowed = [
            &[][..],
            &[("origin", "http://localhost:5173"), ("host", "localhost:8888")],
            &[("origin", "http://127.0.0.1:8888")],
            &[("origin", "http://[::1]:8888"), ("host", "[::1]:8888")],
        ];
        for headers in allowed {
            assert!(from_here(&request(headers), true).is_ok(), "{headers:?}");
        }
        let elsewhere = [("origin", "https://box.lan"), ("host", "box.lan:8888")];
        assert!(from_here(&request(&elsewhere), false).is_ok(), "opened to the network, asked by its name");
        assert!(from_here(&request(&elsewhere), true).is_err(), "a name that was pointed at loopback");
        assert!(from_here(&request(&elsewhere[1..]), true).is_err());
        for origin in ["https://evil.example", "null", "https://localhost.evil.example", "http://10.0.0.1"] {
            let headers = [("origin", origin), ("host", "localhost:8888")];
            assert!(from_here(&request(&headers), true).is_err(), "{origin}");
        }
    }
}
