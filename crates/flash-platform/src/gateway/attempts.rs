//! Limits failed attempts per client address, and logs them without flooding the log.
//!
//! It has no clock and no I/O. Successful attempts are not counted, so clients that share an address with an attacker
//! are not locked out.
use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    time::{Duration, Instant},
};

/// Failed attempts that an address may make at once.
const AT_ONCE: f64 = 30.0;
/// After this time it may have another one.
const EVERY: Duration = Duration::from_secs(2);
/// Maximum number of remembered addresses; the least recent are forgotten.
const MAX_ADDRESSES: usize = 4096;
/// Log lines per address within one [`WINDOW`]; more attempts are only counted.
const LINES: u32 = 3;
const WINDOW: Duration = Duration::from_secs(1);

/// Failed attempts of all clients.
#[derive(Default)]
pub(super) struct Attempts {
    clients: HashMap<IpAddr, Client>,
}

struct Client {
    /// Failures that it may have, at `at`.
    left: f64,
    at: Instant,
    window: Instant,
    lines: u32,
    unlogged: u32,
}

/// What to answer to a failed attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    Why,
    /// Too many attempts: retry after this many seconds.
    ComeBack(u32),
}

/// What to log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LogDecision {
    Nothing,
    /// This attempt, and the number of unlogged attempts before it.
    Line {
        unlogged: u32,
    },
}

impl Client {
    fn new(now: Instant) -> Self {
        Self { left: AT_ONCE, at: now, window: now, lines: 0, unlogged: 0 }
    }

    /// Failures that it may have by now.
    fn left(&self, now: Instant) -> f64 {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        (self.left + passed / EVERY.as_secs_f64()).min(AT_ONCE)
    }

    fn answer(&mut self, now: Instant) -> Answer {
        (self.left, self.at) = (self.left(now), self.at.max(now));
        if self.left >= 1.0 {
            self.left -= 1.0;
            return Answer::Why;
        }
        let missing = (1.0 - self.left) * EVERY.as_secs_f64();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and EVERY")]
        Answer::ComeBack(missing.ceil() as u32)
    }

    fn log_decision(&mut self, now: Instant) -> LogDecision {
        if now.saturating_duration_since(self.window) >= WINDOW {
            (self.window, self.lines) = (now, 0);
        }
        if self.lines == LINES {
            self.unlogged = self.unlogged.saturating_add(1);
            return LogDecision::Nothing;
        }
        self.lines += 1;
        LogDecision::Line { unlogged: std::mem::take(&mut self.unlogged) }
    }
}

impl Attempts {
    /// An attempt failed.
    pub(super) fn failed(&mut self, address: IpAddr, now: Instant) -> (Answer, LogDecision) {
        let key = network(address);
        if !self.clients.contains_key(&key) && self.clients.len() >= MAX_ADDRESSES {
            self.make_room(now);
        }
        let client = self.clients.entry(key).or_insert_with(|| Client::new(now));
        (client.answer(now), client.log_decision(now))
    }

    /// Forgets addresses without failures, and at least a quarter of all, because checking all of them for each new
    /// address would be expensive.
    fn make_room(&mut self, now: Instant) {
        let mut seen: Vec<Instant> = self.clients.values().map(|client| client.at).collect();
        let (_, quiet, _) = seen.select_nth_unstable(MAX_ADDRESSES / 4);
        let quiet = *quiet;
        self.clients.retain(|_, client| client.at > quiet && client.left(now) < AT_ONCE);
    }

    /// Unlogged failures by address, once their window has ended.
    pub(super) fn unlogged(&mut self, now: Instant) -> Vec<(IpAddr, u32)> {
        let quiet = |client: &Client| now.saturating_duration_since(client.window) >= WINDOW;
        let counted = self.clients.iter_mut().filter(|(_, client)| client.unlogged > 0 && quiet(client));
        counted.map(|(address, client)| (*address, std::mem::take(&mut client.unlogged))).collect()
    }
}

/// A client usually has a whole /64 of IPv6, and could use a new address for each attempt.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) if !address.is_loopback() => {
            IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64)))
        }
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(last: u32) -> IpAddr {
        IpAddr::V4((0x0a00_0000 + last).into())
    }

    #[test]
    fn thirty_failures_at_once_then_one_every_two_seconds_and_each_address_for_itself() {
        let (mut attempts, now) = (Attempts::default(), Instant::now());
        let mut answer = |last, now| attempts.failed(address(last), now).0;
        assert!((0..30).all(|_| answer(1, now) == Answer::Why));
        assert_eq!(answer(1, now), Answer::ComeBack(2));
        assert_eq!(answer(2, now), Answer::Why);
        assert_eq!(answer(1, now + Duration::from_millis(1500)), Answer::ComeBack(1));
        assert_eq!(answer(1, now + EVERY), Answer::Why);
        assert_eq!(answer(1, now + EVERY), Answer::ComeBack(2));
        let later = now + Duration::from_secs(3600);
        assert_eq!((0..40).filter(|_| answer(1, later) == Answer::Why).count(), 30);
    }

    #[test]
    fn three_lines_a_second_are_told_and_the_rest_as_a_number() {
        let (mut attempts, now) = (Attempts::default(), Instant::now());
        let decisions: Vec<LogDecision> = (0..10).map(|_| attempts.failed(address(1), now).1).collect();
        assert_eq!(decisions[..3], [LogDecision::Line { unlogged: 0 }; 3]);
        assert_eq!(decisions[3..], [LogDecision::Nothing; 7]);
        assert!(attempts.unlogged(now).is_empty(), "its second is not over");
        let next = now + WINDOW;
        assert_eq!(attempts.failed(address(1), next).1, LogDecision::Line { unlogged: 7 });
        for _ in 0..5 {
            attempts.failed(address(1), next);
        }
        assert_eq!(attempts.unlogged(next + WINDOW), [(address(1), 3)]);
        assert!(attempts.unlogged(next + WINDOW).is_empty());
    }

    #[test]
    fn addresses_are_bounded_and_the_busiest_stay() {
        let (mut attempts, now) = (Attempts::default(), Instant::now());
        let at = |last: u32| now + Duration::from_micros(last.into());
        for last in 0..40 {
            attempts.failed(address(1), at(last));
        }
        for last in 40..10_000 {
            attempts.failed(address(1000 + last), at(last));
            attempts.failed(address(1), at(last));
        }
        assert!(attempts.clients.len() <= MAX_ADDRESSES);
        assert!(matches!(attempts.failed(address(1), at(10_000)).0, Answer::ComeBack(_)));
    }

    #[test]
    fn a_network_of_ipv6_is_one_client_and_a_mapped_address_is_that_of_ipv4() {
        let [one, two, other, mapped] = ["2001:db8::1", "2001:db8::2", "2001:db8:0:1::1", "::ffff:10.0.0.1"]
            .map(|text| text.parse().unwrap());
        assert!(network(one) == network(two) && network(one) != network(other));
        assert_eq!(network(mapped), address(1));
        assert_eq!(network(IpAddr::V6(Ipv6Addr::LOCALHOST)), IpAddr::V6(Ipv6Addr::LOCALHOST));
    }
}
