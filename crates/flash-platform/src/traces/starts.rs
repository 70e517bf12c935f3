//! The latest starts of workers, for the spans of what waited for them.
use std::{collections::VecDeque, time::SystemTime};

use crate::worker_id::WorkerId;

/// Starts that are kept; the oldest go. What waited longer for its worker than so many starts took has no such span.
const KEPT: usize = 256;

/// When a worker started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Start {
    pub since: SystemTime,
    pub until: SystemTime,
}

/// See the module.
#[derive(Default)]
pub(super) struct Starts(VecDeque<(WorkerId, Start)>);

impl Starts {
    pub(super) fn add(&mut self, worker: WorkerId, start: Start) {
        if self.0.len() == KEPT {
            self.0.pop_front();
        }
        self.0.push_back((worker, start));
    }

    pub(super) fn of(&self, worker: &WorkerId) -> Option<Start> {
        self.0.iter().rev().find(|(own, _)| own == worker).map(|(_, start)| *start)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_latest_starts_are_kept() {
        let mut starts = Starts::default();
        let at = |second| SystemTime::UNIX_EPOCH + Duration::from_secs(second);
        for number in 0..1000 {
            let start = Start { since: at(number), until: at(number + 1) };
            starts.add(number.to_string().as_str().into(), start);
        }
        assert_eq!(starts.of(&"999".into()), Some(Start { since: at(999), until: at(1000) }));
        assert_eq!((starts.0.len(), starts.of(&"0".into())), (KEPT, None));
    }
}
