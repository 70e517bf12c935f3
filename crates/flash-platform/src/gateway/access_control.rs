//! Who may send requests: decides by the key that a request presents, and answers and logs failed attempts.
//!
//! `keys` stores keys and `attempts` limits failed attempts. `access` applies it to requests.
use std::{net::IpAddr, time::Instant};

use http::StatusCode;
use parking_lot::Mutex;

use super::{
    attempts::{Answer, Attempts, LogDecision},
    error::Refusal,
    hosts::AllowedHosts,
    keys::{Access, KeyHash, Owner},
};
use flash_logs::{LogLine, Sink};

/// Who may send requests to a platform.
pub(super) struct AccessControl {
    access: Access,
    failed: Mutex<Attempts>,
    log: Sink,
}

/// Why a request is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Denial {
    NoKey,
    /// It is the key of another environment.
    Elsewhere,
    /// The key is unknown.
    Unknown,
}

impl Denial {
    fn refusal(self, access: &Access) -> Refusal {
        let (status, message) = match (self, access) {
            (Self::NoKey, Access::Ring(_)) => (
                StatusCode::UNAUTHORIZED,
                "no key: send `Authorization: Bearer KEY`; `flash key new ENVIRONMENT` makes one",
            ),
            (Self::NoKey, _) => (StatusCode::UNAUTHORIZED, "no key: send `Authorization: Bearer KEY`"),
            (Self::Elsewhere, _) => (
                StatusCode::FORBIDDEN,
                "this key belongs to another environment: send a key of this environment",
            ),
            (Self::Unknown, Access::Ring(_)) => (
                StatusCode::UNAUTHORIZED,
                "unknown key; it may have been revoked; `flash key new ENVIRONMENT` makes another",
            ),
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
    pub(super) fn new(access: Access, log: Sink) -> Self {
        Self { access, failed: Mutex::default(), log }
    }

    /// Whether this belongs to an environment, not to `flash run`.
    pub(super) fn is_of_environment(&self) -> bool {
        matches!(self.access, Access::Ring(_))
    }

    /// The names that a request must use where no key is needed; `None` where a key is needed.
    pub(super) fn hosts_without_key(&self) -> Option<&AllowedHosts> {
        match &self.access {
            Access::Open(allowed) => Some(allowed),
            Access::Key(_) | Access::Ring(_) => None,
        }
    }

    /// Whether a key is accepted. Workers' keys are accepted for calls.
    pub(super) fn admits(
        &self,
        given: Option<&str>,
        is_key_of_a_worker: impl Fn(&str) -> bool,
    ) -> Result<(), Denial> {
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

    /// Whether the key with this hash is accepted still.
    pub(super) fn still_admits(&self, hash: KeyHash) -> bool {
        match &self.access {
            Access::Open(_) => true,
            Access::Key(key) => key.is(hash),
            Access::Ring(ring) => ring.owner_of(hash) == Owner::Own,
        }
    }

    /// Whether this is a key of any environment, including those that are not accepted here.
    pub(super) fn is_key(&self, given: &str) -> bool {
        match &self.access {
            Access::Open(_) => false,
            Access::Key(key) => key.opens(given),
            Access::Ring(ring) => ring.owner(given) != Owner::Nobody,
        }
    }

    /// Handles a failed attempt: logs it and returns the answer.
    pub(super) fn refuse(&self, denial: Denial, client: IpAddr, asked: &str) -> Refusal {
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
    pub(super) fn log_rest(&self) {
        let unlogged = self.failed.lock().unlogged(Instant::now());
        for (client, count) in unlogged {
            self.say(format!("refused {count} more requests from {client} without a valid key"));
        }
    }

    fn say(&self, text: String) {
        (self.log)(LogLine::system("platform", None, text));
    }
}

#[cfg(test)]
mod tests {
    use std::{net::Ipv4Addr, sync::Arc};

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
