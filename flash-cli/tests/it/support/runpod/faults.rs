//! Calls that break, on order, and the list of all calls.
use std::time::Duration;

use serde_json::Value;

/// Which of the hosts was called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Host {
    Rest,
    Queue,
}

/// A call, as it came. Calls of workers and requests to load-balanced endpoints are not among them.
#[derive(Debug, Clone, PartialEq)]
pub struct Call {
    pub host: Host,
    pub method: String,
    pub path: String,
    /// With the question mark, or empty.
    pub query: String,
    pub body: Option<Value>,
    /// What was answered; nothing as long as it was not, or where the connection was reset.
    pub status: Option<u16>,
    /// Whether the stand-in did what it was asked to do, faults apart.
    pub carried_out: bool,
}

impl Call {
    /// Such as `PATCH /v2/serverless/abc`.
    pub fn line(&self) -> String {
        format!("{} {}", self.method, self.path)
    }

    /// Whether it would change something.
    pub fn changes(&self) -> bool {
        self.method != "GET"
    }
}

/// What happens to a call.
#[derive(Debug, Clone)]
pub enum Fault {
    /// Nothing is carried out, and this is the answer.
    Status(u16),
    /// It is carried out, and this is the answer, as when a proxy gave up.
    StatusAfter(u16),
    /// Nothing is carried out.
    TooMany { retry_after: u32 },
    /// The connection ends without an answer, and nothing is carried out.
    ResetBefore,
    /// It is carried out; the connection ends without an answer.
    ResetAfter,
    /// It is carried out; the answer comes late.
    Slow(Duration),
    /// The key is not taken (any more).
    Unauthorized,
}

type Matcher = Box<dyn Fn(&Call) -> bool + Send>;

/// Faults that are still to come.
#[derive(Default)]
pub struct Faults(Vec<Planned>);

struct Planned {
    fits: Matcher,
    /// So many calls that fit are let pass.
    skip: usize,
    /// So many calls are broken.
    times: usize,
    fault: Fault,
}

impl Faults {
    pub fn add(&mut self, fits: Matcher, skip: usize, times: usize, fault: Fault) {
        self.0.push(Planned { fits, skip, times, fault });
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// The fault of this call, if there is one.
    pub fn take(&mut self, call: &Call) -> Option<Fault> {
        let mut taken = None;
        for planned in self.0.iter_mut().filter(|planned| (planned.fits)(call)) {
            if planned.skip > 0 {
                planned.skip -= 1;
            } else if taken.is_none() {
                planned.times -= 1;
                taken = Some(planned.fault.clone());
            }
        }
        self.0.retain(|planned| planned.times > 0);
        taken
    }
}
