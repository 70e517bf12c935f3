//! The order of deliveries: one line per receiver, so that a slow receiver only delays its own deliveries.
//!
//! Pure: no time and no HTTP. A receiver is the host and port of a URL.
use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

/// Host and port of a receiver.
pub(super) type Receiver = Arc<str>;

/// The lines of all receivers. `T` is a delivery.
pub(super) struct Lines<T> {
    limits: Limits,
    lines: HashMap<Receiver, Line<T>>,
    /// Receivers with a delivery that may start as soon as there is room, taking turns.
    turns: VecDeque<Receiver>,
    waiting: usize,
    under_way: usize,
}

/// How many deliveries may run at once.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    pub all: usize,
    pub per_receiver: usize,
}

struct Line<T> {
    waiting: VecDeque<T>,
    under_way: usize,
    has_turn: bool,
}

impl<T> Lines<T> {
    /// Lines without anything in them.
    pub(super) fn new(limits: Limits) -> Self {
        Self { limits, lines: HashMap::new(), turns: VecDeque::new(), waiting: 0, under_way: 0 }
    }

    /// Deliveries that wait.
    pub(super) fn waiting(&self) -> usize {
        self.waiting
    }

    /// Puts a delivery at the end of its receiver's line.
    pub(super) fn arrive(&mut self, receiver: &Receiver, delivery: T) {
        let line = self.lines.entry(receiver.clone()).or_insert_with(|| Line {
            waiting: VecDeque::new(),
            under_way: 0,
            has_turn: false,
        });
        line.waiting.push_back(delivery);
        self.waiting += 1;
        self.give_turn(receiver);
    }

    /// A delivery to this receiver has ended.
    pub(super) fn ended(&mut self, receiver: &Receiver) {
        let Some(line) = self.lines.get_mut(receiver) else { return };
        line.under_way -= 1;
        self.under_way -= 1;
        if line.under_way == 0 && line.waiting.is_empty() {
            self.lines.remove(receiver);
        } else {
            self.give_turn(receiver);
        }
    }

    /// The next delivery to start, if one may start now.
    pub(super) fn start_next(&mut self) -> Option<(Receiver, T)> {
        if self.under_way >= self.limits.all {
            return None;
        }
        let receiver = self.turns.pop_front()?;
        let line = self.lines.get_mut(&receiver)?;
        line.has_turn = false;
        let delivery = line.waiting.pop_front()?;
        line.under_way += 1;
        self.under_way += 1;
        self.waiting -= 1;
        self.give_turn(&receiver);
        Some((receiver, delivery))
    }

    fn give_turn(&mut self, receiver: &Receiver) {
        let Some(line) = self.lines.get_mut(receiver) else { return };
        let may_start = !line.waiting.is_empty() && line.under_way < self.limits.per_receiver;
        if may_start && !line.has_turn {
            line.has_turn = true;
            self.turns.push_back(receiver.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn started(lines: &mut Lines<u32>) -> Vec<(Receiver, u32)> {
        std::iter::from_fn(|| lines.start_next()).collect()
    }

    #[test]
    fn a_receiver_that_never_answers_holds_up_nobody_else() {
        let mut lines = Lines::new(Limits { all: 8, per_receiver: 2 });
        let (slow, fast): (Receiver, Receiver) = ("slow:80".into(), "fast:80".into());
        for number in 0..1_000 {
            lines.arrive(&slow, number);
        }
        assert_eq!(started(&mut lines).len(), 2, "no more than its share");
        lines.arrive(&fast, 1_000);
        assert_eq!(started(&mut lines), [(fast.clone(), 1_000)]);
        lines.ended(&slow);
        assert_eq!(started(&mut lines), [(slow.clone(), 2)], "its own go on, in their order");
    }

    #[test]
    fn receivers_take_turns_when_all_places_are_taken() {
        let mut lines = Lines::new(Limits { all: 2, per_receiver: 2 });
        let (one, other): (Receiver, Receiver) = ("one:80".into(), "other:80".into());
        for number in 0..4 {
            lines.arrive(&one, number);
        }
        lines.arrive(&other, 4);
        assert_eq!(started(&mut lines), [(one.clone(), 0), (other.clone(), 4)]);
    }

    proptest! {
        #[test]
        fn every_delivery_starts_once_within_the_limits(
            arrivals in prop::collection::vec(0..5_u8, 0..200),
            all in 1..6_usize,
            per_receiver in 1..4_usize,
        ) {
            let mut lines = Lines::new(Limits { all, per_receiver });
            let mut under_way: Vec<Receiver> = Vec::new();
            let mut seen = Vec::new();
            let mut take = |lines: &mut Lines<usize>, under_way: &mut Vec<Receiver>| {
                while let Some((receiver, number)) = lines.start_next() {
                    seen.push(number);
                    under_way.push(receiver.clone());
                    assert!(under_way.len() <= all);
                    assert!(under_way.iter().filter(|one| **one == receiver).count() <= per_receiver);
                }
            };
            for (number, receiver) in arrivals.iter().enumerate() {
                lines.arrive(&receiver.to_string().into(), number);
                take(&mut lines, &mut under_way);
                if number % 3 == 0 && let Some(ended) = under_way.pop() {
                    lines.ended(&ended);
                }
            }
            take(&mut lines, &mut under_way);
            while let Some(ended) = under_way.pop() {
                lines.ended(&ended);
                take(&mut lines, &mut under_way);
            }
            seen.sort_unstable();
            prop_assert_eq!(seen, (0..arrivals.len()).collect::<Vec<_>>());
            prop_assert_eq!((lines.waiting(), lines.lines.len(), lines.turns.len()), (0, 0, 0));
        }
    }
}
