//! What each worker takes of the machine: measured again and again, shown as what it took lately.
use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use crate::supervisor::GroupUsage;

/// What a worker takes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct WorkerUsage {
    /// How many cores its processes kept busy, between the last two measurements.
    pub cores: f64,
    /// Their resident memory in bytes, with what they share.
    pub memory_bytes: u64,
}

/// The measurements of a worker whose processes are known.
#[derive(Debug, Clone, Copy)]
pub(super) struct Measured {
    group: i32,
    /// When it was measured last, with the processor time until then.
    last: (Instant, Duration),
    usage: Option<WorkerUsage>,
}

impl Measured {
    /// Of processes that started then.
    pub(super) fn new(group: i32, now: Instant) -> Self {
        Self { group, last: (now, Duration::ZERO), usage: None }
    }

    pub(super) fn usage(&self) -> Option<WorkerUsage> {
        self.usage
    }

    /// Takes its measurement out of those of all process groups.
    pub(super) fn update(&mut self, groups: &HashMap<i32, GroupUsage>, now: Instant) {
        if let Some(own) = groups.get(&self.group) {
            self.add(*own, now);
        }
    }

    fn add(&mut self, own: GroupUsage, now: Instant) {
        let (then, cpu) = self.last;
        let passed = now.saturating_duration_since(then).as_secs_f64();
        // A child that nobody has waited for takes its time along.
        let cores = if passed > 0.0 { own.cpu.saturating_sub(cpu).as_secs_f64() / passed } else { 0.0 };
        self.usage = Some(WorkerUsage { cores, memory_bytes: own.memory_bytes });
        self.last = (now, own.cpu);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_takes_what_it_took_between_two_measurements() {
        let (start, seconds) = (Instant::now(), Duration::from_secs);
        let mut measured = Measured::new(7, start);
        assert_eq!(measured.usage(), None);
        let took = |cpu, memory_bytes| GroupUsage { cpu: Duration::from_millis(cpu), memory_bytes };
        measured.add(took(3000, 10), start + seconds(2));
        assert_eq!(measured.usage(), Some(WorkerUsage { cores: 1.5, memory_bytes: 10 }));
        measured.add(took(3500, 5), start + seconds(4));
        assert_eq!(measured.usage(), Some(WorkerUsage { cores: 0.25, memory_bytes: 5 }));
        measured.add(took(3000, 5), start + seconds(6));
        assert_eq!(measured.usage(), Some(WorkerUsage { cores: 0.0, memory_bytes: 5 }), "a child has gone");
    }
}
