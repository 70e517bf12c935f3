//! The books of one worker as pure arithmetic: no clock, no lock, no names.
//!
//! Jobs that run at the same time share the worker's price equally. A meter holds the cost of a job that would have
//! run from the start; a job owes the difference of the meter over its run. So each event takes constant time,
//! however many jobs run. Rounding differences count as idle cost, so the sum is exact.
use flash_protocol::catalogue::NanoDollars;

const SECOND: u128 = 1_000_000_000;

/// Nanoseconds since the account was opened.
pub(super) type Moment = u64;

/// The meter's value when a job began or was last charged.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reading(u128);

/// See the module. Moments that go back count as no time.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ledger {
    /// Of one second.
    price: NanoDollars,
    spawned: Option<Moment>,
    ready: Option<Moment>,
    gone: Option<Moment>,
    /// Up to when the rest is right.
    at: Moment,
    running: u64,
    /// In nano-dollars times nanoseconds by second, as `rest` and `begun`.
    meter: u128,
    /// The remainder that could not be divided among running jobs; smaller than their number.
    rest: u128,
    /// The sum of the readings of running jobs.
    begun: u128,
    /// Nanoseconds in which something ran.
    busy: Moment,
    /// Charged, in nano-dollars.
    shares: u128,
}

/// What workers cost, and for what. Times are in nanoseconds, amounts in nano-dollars.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Sums {
    /// Workers that had a process.
    pub workers: u64,
    pub start: u128,
    /// What was charged for work, including the current cost of running work.
    pub run: u128,
    /// Whole seconds, as the provider bills.
    pub bill: u128,
    pub start_time: u128,
    pub run_time: u128,
    pub life_time: u128,
}

impl Sums {
    /// Everything in the bill that is neither start nor run.
    pub(crate) fn idle(&self) -> u128 {
        self.bill - self.start - self.run
    }

    /// Time in which it was ready and nothing ran.
    pub(crate) fn idle_time(&self) -> u128 {
        self.life_time - self.start_time - self.run_time
    }
}

impl std::ops::AddAssign for Sums {
    fn add_assign(&mut self, other: Self) {
        self.workers += other.workers;
        self.start += other.start;
        self.run += other.run;
        self.bill += other.bill;
        self.start_time += other.start_time;
        self.run_time += other.run_time;
        self.life_time += other.life_time;
    }
}

impl Ledger {
    pub(super) fn new(price: NanoDollars) -> Self {
        Self {
            price,
            spawned: None,
            ready: None,
            gone: None,
            at: 0,
            running: 0,
            meter: 0,
            rest: 0,
            begun: 0,
            busy: 0,
            shares: 0,
        }
    }

    /// Advances the meter to a moment. It stops at the worker's end.
    fn advance(&mut self, now: Moment) {
        if self.gone.is_some() {
            return;
        }
        let passed = now.saturating_sub(self.at);
        self.at += passed;
        if self.running > 0 {
            self.busy += passed;
            let owed = u128::from(passed) * u128::from(self.price.0) + self.rest;
            self.meter += owed / u128::from(self.running);
            self.rest = owed % u128::from(self.running);
        }
    }

    /// Its process has started.
    pub(super) fn spawned(&mut self, now: Moment) {
        self.advance(now);
        self.spawned.get_or_insert(now.min(self.at));
    }

    /// It takes work.
    pub(super) fn ready(&mut self, now: Moment) {
        self.spawned(now);
        self.ready.get_or_insert(self.at);
    }

    /// A job begins.
    pub(super) fn began(&mut self, now: Moment) -> Reading {
        self.ready(now);
        self.running += 1;
        self.begun += self.meter;
        Reading(self.meter)
    }

    /// The cost of a running job since `reading`, which is charged now.
    pub(super) fn charge(&mut self, reading: &mut Reading, now: Moment) -> NanoDollars {
        self.advance(now);
        let share = self.owed(*reading);
        let charged = u128::from(share.0) * SECOND;
        reading.0 += charged;
        self.begun += charged;
        self.shares += u128::from(share.0);
        share
    }

    /// Ends a job and returns its cost since `reading`.
    pub(super) fn ended(&mut self, mut reading: Reading, now: Moment) -> NanoDollars {
        let share = self.charge(&mut reading, now);
        self.running -= 1;
        self.begun -= reading.0;
        if self.running == 0 {
            self.rest = 0;
        }
        share
    }

    /// The cost of a running job if it were charged now.
    pub(super) fn so_far(&mut self, reading: Reading, now: Moment) -> NanoDollars {
        self.advance(now);
        self.owed(reading)
    }

    fn owed(&self, reading: Reading) -> NanoDollars {
        NanoDollars(u64::try_from((self.meter - reading.0) / SECOND).unwrap_or(u64::MAX))
    }

    /// Its process has ended. Jobs that end later cost nothing more.
    pub(super) fn gone(&mut self, now: Moment) {
        self.advance(now);
        self.gone.get_or_insert(self.at);
    }

    /// Whether nothing in it will change.
    pub(super) fn is_closed(&self) -> bool {
        self.gone.is_some() && self.running == 0
    }

    /// The totals at a moment.
    pub(super) fn sums(mut self, now: Moment) -> Sums {
        self.advance(now);
        let Some(spawned) = self.spawned else { return Sums::default() };
        let (price, life) = (u128::from(self.price.0), u128::from(self.at - spawned));
        let start_time = u128::from(self.ready.unwrap_or(self.at) - spawned);
        let running = u128::from(self.running) * self.meter - self.begun;
        Sums {
            workers: 1,
            start: price * start_time / SECOND,
            run: self.shares + running / SECOND,
            bill: price * life.div_ceil(SECOND),
            start_time,
            run_time: u128::from(self.busy),
            life_time: life,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const S: Moment = 1_000_000_000;

    fn ready(price: u64) -> Ledger {
        let mut ledger = Ledger::new(NanoDollars(price));
        ledger.spawned(0);
        ledger.ready(2 * S);
        ledger
    }

    #[test]
    fn a_life_is_start_run_and_idle_and_billed_by_whole_seconds() {
        let mut ledger = ready(100);
        let job = ledger.began(5 * S);
        assert_eq!(ledger.so_far(job, 6 * S), NanoDollars(100));
        assert_eq!(ledger.ended(job, 8 * S), NanoDollars(300));
        ledger.gone(9 * S + 1);
        let sums = ledger.sums(100 * S);
        assert_eq!((sums.start, sums.run, sums.idle(), sums.bill), (200, 300, 500, 1000));
        assert_eq!((sums.start_time, sums.run_time), (2 * u128::from(S), 3 * u128::from(S)));
        assert_eq!(sums.idle_time(), 4 * u128::from(S) + 1);
    }

    #[test]
    fn jobs_at_the_same_time_split_the_price() {
        let mut ledger = ready(1000);
        let long = ledger.began(10 * S);
        let short = ledger.began(11 * S);
        assert_eq!(ledger.ended(short, 13 * S), NanoDollars(1000), "two seconds, half each");
        assert_eq!(ledger.ended(long, 14 * S), NanoDollars(3000));
        assert_eq!(ledger.sums(14 * S).run, 4000, "four seconds of work");
    }

    #[test]
    fn a_worker_that_never_became_ready_is_all_start() {
        let mut ledger = Ledger::new(NanoDollars(7));
        ledger.spawned(S);
        ledger.gone(4 * S);
        let sums = ledger.sums(9 * S);
        assert_eq!((sums.workers, sums.start, sums.idle(), sums.bill), (1, 21, 0, 21));
    }

    #[test]
    fn a_worker_without_a_process_costs_nothing() {
        let mut ledger = Ledger::new(NanoDollars(7));
        ledger.gone(4 * S);
        assert_eq!(ledger.sums(5 * S), Sums::default());
        assert!(ledger.is_closed());
    }

    #[test]
    fn a_job_that_ends_after_its_worker_owes_nothing_more() {
        let mut ledger = ready(100);
        let job = ledger.began(2 * S);
        ledger.gone(4 * S);
        assert!(!ledger.is_closed());
        assert_eq!(ledger.ended(job, 60 * S), NanoDollars(200));
        assert!(ledger.is_closed());
        assert_eq!(ledger.sums(60 * S).bill, 400);
    }

    #[test]
    fn a_charge_in_between_is_not_charged_again() {
        let mut ledger = ready(3);
        let mut job = ledger.began(2 * S);
        let first = ledger.charge(&mut job, 2 * S + S / 2);
        let second = ledger.ended(job, 4 * S);
        assert_eq!((first, second), (NanoDollars(1), NanoDollars(5)), "no fraction is lost on the way");
    }

    #[derive(Debug, Clone)]
    enum Event {
        Begin,
        End(usize),
        Charge(usize),
    }

    fn event() -> impl Strategy<Value = (u64, Event)> {
        let event = prop_oneof![
            4 => Just(Event::Begin),
            3 => (0..8_usize).prop_map(Event::End),
            1 => (0..8_usize).prop_map(Event::Charge),
        ];
        (0..3 * S, event)
    }

    /// Divisible by every number of jobs in these tests, so that an exact share is a whole number.
    const FINE: u128 = 840;

    struct Job {
        reading: Reading,
        charged: u128,
        /// Nano-dollars times nanoseconds times `FINE`.
        exact: u128,
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn shares_are_fair_and_everything_adds_up(
            price in 0..20_000_000_u64,
            start in 0..10 * S,
            events in prop::collection::vec(event(), 0..120),
            tail in 0..3 * S,
        ) {
            let mut ledger = Ledger::new(NanoDollars(price));
            ledger.spawned(0);
            ledger.ready(start);
            let (mut now, mut idle, mut count) = (start, 0_u128, 0_u128);
            let (mut running, mut charged): (Vec<Job>, u128) = (Vec::new(), 0);
            let pass = |time: u64, running: &mut Vec<Job>, idle: &mut u128| {
                let each = FINE / (running.len().max(1) as u128);
                running.iter_mut().for_each(|job| job.exact += u128::from(time) * u128::from(price) * each);
                *idle += if running.is_empty() { u128::from(time) } else { 0 };
            };
            for (time, event) in events {
                pass(time, &mut running, &mut idle);
                now += time;
                match event {
                    Event::Begin if running.len() < 8 => {
                        count += 1;
                        running.push(Job { reading: ledger.began(now), charged: 0, exact: 0 });
                    }
                    Event::Charge(which) if which < running.len() => {
                        running[which].charged += u128::from(ledger.charge(&mut running[which].reading, now).0);
                    }
                    Event::End(which) if which < running.len() => {
                        let mut job = running.remove(which);
                        job.charged += u128::from(ledger.ended(job.reading, now).0);
                        charged += job.charged;
                        // A nano-dollar of rounding, and what waited to be divided when it began or ended.
                        let slack = (SECOND + 16) * FINE;
                        prop_assert!((job.charged * SECOND * FINE).abs_diff(job.exact) <= slack);
                    }
                    _ => {}
                }
                let sums = ledger.sums(now);
                prop_assert!(sums.bill >= sums.start + sums.run);
            }
            pass(tail, &mut running, &mut idle);
            now += tail;
            let at_once: Vec<u64> = running.drain(..).map(|job| {
                let share = ledger.ended(job.reading, now).0;
                charged += job.charged + u128::from(share);
                share
            }).collect();
            prop_assert!(at_once.len() <= 8);
            ledger.gone(now);
            let sums = ledger.sums(now + S);
            prop_assert!(ledger.is_closed());
            prop_assert_eq!(sums.run, charged, "what jobs were charged");
            prop_assert_eq!(sums.idle_time(), idle);
            prop_assert_eq!(sums.bill, sums.start + sums.run + sums.idle());
            // Independently added: idle is that, rounded up to the second, and a nano-dollar of each job.
            let measured = idle * u128::from(price) / SECOND;
            let most = measured + u128::from(price) + count + 2;
            prop_assert!((measured..=most).contains(&sums.idle()), "{} is not near {measured}", sums.idle());
        }

        #[test]
        fn jobs_that_begin_and_end_together_owe_the_same(
            price in 0..20_000_000_u64, jobs in 1..50_usize, time in 0..100 * S,
        ) {
            let mut ledger = ready(price);
            let running: Vec<Reading> = (0..jobs).map(|_| ledger.began(3 * S)).collect();
            let shares: Vec<u64> =
                running.into_iter().map(|reading| ledger.ended(reading, 3 * S + time).0).collect();
            prop_assert!(shares.iter().all(|share| *share == shares[0]));
            let whole = u128::from(price) * u128::from(time) / SECOND;
            let sum: u128 = shares.iter().map(|share| u128::from(*share)).sum();
            prop_assert!(sum <= whole && whole - sum <= jobs as u128);
        }
    }
}
