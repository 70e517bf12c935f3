//! The order of deliveries: one queue per receiver, so that a slow receiver only delays its own deliveries.
//!
//! Pure: no time and no HTTP. A receiver is the host and port of a URL.
use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

/// Host and port of a receiver.
pub(super) type Receiver = Arc<str>;

/// The queues of all receivers. `T` is a delivery.
pub(super) struct ReceiverQueues<T> {
    limits: Limits,
    queues: HashMap<Receiver, ReceiverQueue<T>>,
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

struct ReceiverQueue<T> {
    waiting: VecDeque<T>,
    under_way: usize,
    has_turn: bool,
}

impl<T> ReceiverQueues<T> {
    /// Without deliveries.
    pub(super) fn new(limits: Limits) -> Self {
        Self { limits, queues: HashMap::new(), turns: VecDeque::new(), waiting: 0, under_way: 0 }
    }

    /// Deliveries that wait.
    pub(super) fn waiting(&self) -> usize {
        self.waiting
    }

    /// Puts a delivery at the end of its receiver's queue.
    pub(super) fn arrive(&mut self, receiver: &Receiver, delivery: T) {
        let queue = self.queues.entry(receiver.clone()).or_insert_with(|| ReceiverQueue {
            waiting: VecDeque::new(),
            under_way: 0,
            has_turn: false,
        });
        queue.waiting.push_back(delivery);
        self.waiting += 1;
        self.give_turn(receiver);
    }

    /// A delivery to this receiver has ended.
    pub(super) fn ended(&mut self, receiver: &Receiver) {
        let Some(queue) = self.queues.get_mut(receiver) else { return };
        queue.under_way -= 1;
        self.under_way -= 1;
        if queue.under_way == 0 && queue.waiting.is_empty() {
            self.queues.remove(receiver);
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
        let queue = self.queues.get_mut(&receiver)?;
        queue.has_turn = false;
        let delivery = queue.waiting.pop_front()?;
        queue.under_way += 1;
        self.under_way += 1;
        self.waiting -= 1;
        self.give_turn(&receiver);
        Some((receiver, delivery))
    }

    fn give_turn(&mut self, receiver: &Receiver) {
        let Some(queue) = self.queues.get_mut(receiver) else { return };
        let may_start = !queue.waiting.is_empty() && queue.under_way < self.limits.per_receiver;
        if may_start && !queue.has_turn {
            queue.has_turn = true;
            self.turns.push_back(receiver.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn started(queues: &mut ReceiverQueues<u32>) -> Vec<(Receiver, u32)> {
        std::iter::from_fn(|| queues.start_next()).collect()
    }

    #[test]
    fn a_receiver_that_never_answers_holds_up_nobody_else() {
        let mut queues = ReceiverQueues::new(Limits { all: 8, per_receiver: 2 });
        let (slow, fast): (Receiver, Receiver) = ("slow:80".into(), "fast:80".into());
        for number in 0..1_000 {
            queues.arrive(&slow, number);
        }
        assert_eq!(started(&mut queues).len(), 2, "no more than its share");
        queues.arrive(&fast, 1_000);
        assert_eq!(started(&mut queues), [(fast.clone(), 1_000)]);
        queues.ended(&slow);
        assert_eq!(started(&mut queues), [(slow.clone(), 2)], "its own go on, in their order");
    }

    #[test]
    fn receivers_take_turns_when_all_places_are_taken() {
        let mut queues = ReceiverQueues::new(Limits { all: 2, per_receiver: 2 });
        let (one, other): (Receiver, Receiver) = ("one:80".into(), "other:80".into());
        for number in 0..4 {
            queues.arrive(&one, number);
        }
        queues.arrive(&other, 4);
        assert_eq!(started(&mut queues), [(one.clone(), 0), (other.clone(), 4)]);
    }

    proptest! {
        #[test]
        fn every_delivery_starts_once_within_the_limits(
            arrivals in prop::collection::vec(0..5_u8, 0..200),
            all in 1..6_usize,
            per_receiver in 1..4_usize,
        ) {
            let mut queues = ReceiverQueues::new(Limits { all, per_receiver });
            let mut under_way: Vec<Receiver> = Vec::new();
            let mut seen = Vec::new();
            let mut take = |queues: &mut ReceiverQueues<usize>, under_way: &mut Vec<Receiver>| {
                while let Some((receiver, number)) = queues.start_next() {
                    seen.push(number);
                    under_way.push(receiver.clone());
                    assert!(under_way.len() <= all);
                    assert!(under_way.iter().filter(|one| **one == receiver).count() <= per_receiver);
                }
            };
            for (number, receiver) in arrivals.iter().enumerate() {
                queues.arrive(&receiver.to_string().into(), number);
                take(&mut queues, &mut under_way);
                if number % 3 == 0 && let Some(ended) = under_way.pop() {
                    queues.ended(&ended);
                }
            }
            take(&mut queues, &mut under_way);
            while let Some(ended) = under_way.pop() {
                queues.ended(&ended);
                take(&mut queues, &mut under_way);
            }
            seen.sort_unstable();
            prop_assert_eq!(seen, (0..arrivals.len()).collect::<Vec<_>>());
            prop_assert_eq!((queues.waiting(), queues.queues.len(), queues.turns.len()), (0, 0, 0));
        }
    }
}
