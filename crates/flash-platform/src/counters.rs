//! Counters of what nothing else keeps, for metrics: answers by status, and webhooks by outcome.
//!
//! Each count is one atomic addition.
use std::sync::atomic::{AtomicU64, Ordering};

use http::StatusCode;

/// The classes of statuses, and requests without an answer.
const CODES: [&str; 6] = ["none", "1xx", "2xx", "3xx", "4xx", "5xx"];

/// How requests to load-balanced workers were answered.
#[derive(Debug, Default)]
pub(crate) struct Answers([AtomicU64; CODES.len()]);

impl Answers {
    /// A request ended, with this status, or before it had any.
    pub(crate) fn count(&self, status: Option<StatusCode>) {
        let class = status.map_or(0, |status| usize::from(status.as_u16() / 100));
        // Programs may answer with a status above those of HTTP; clients treat it as a failed one.
        self.0[class.min(CODES.len() - 1)].fetch_add(1, Ordering::Relaxed);
    }

    /// Each class, such as `2xx`, with its number. `none`: the client left before.
    pub(crate) fn all(&self) -> [(&'static str, u64); CODES.len()] {
        std::array::from_fn(|class| (CODES[class], self.0[class].load(Ordering::Relaxed)))
    }
}

/// What became of a POST to the receiver of a webhook.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PostOutcome {
    /// Its receiver took it.
    Delivered,
    /// It will be tried again.
    Failed,
    /// It was the last try.
    GaveUp,
}

impl PostOutcome {
    const ALL: [Self; 3] = [Self::Delivered, Self::Failed, Self::GaveUp];

    fn as_str(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Failed => "failed",
            Self::GaveUp => "gave_up",
        }
    }
}

/// How many POSTs to receivers of webhooks ended in each way.
#[derive(Debug, Default)]
pub(crate) struct Posts([AtomicU64; PostOutcome::ALL.len()]);

impl Posts {
    pub(crate) fn count(&self, outcome: PostOutcome) {
        self.0[outcome as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Each outcome with its number.
    pub(crate) fn all(&self) -> [(&'static str, u64); PostOutcome::ALL.len()] {
        PostOutcome::ALL.map(|outcome| (outcome.as_str(), self.0[outcome as usize].load(Ordering::Relaxed)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_counted_by_the_class_of_their_status() {
        let answers = Answers::default();
        for status in [101, 200, 204, 404, 503, 599, 999] {
            answers.count(StatusCode::from_u16(status).ok());
        }
        answers.count(None);
        let expected = [("none", 1), ("1xx", 1), ("2xx", 2), ("3xx", 0), ("4xx", 1), ("5xx", 3)];
        assert_eq!(answers.all(), expected);
    }
}
