//! The books of one worker as pure arithmetic: no clock, no lock, no names.
//!
//! Jobs that run at the same time share the worker's price by weight: equally, unless they are items of a batch. A meter
//! holds the cost per weight of a job that would have run from the start; a job owes its weight times the difference of
//! the meter over its run. So each event takes constant time, however many jobs run. Jobs without a weight, which wait
//! for a batch, owe nothing while others run; while all of them wait, they share equally, on a meter of their own.
//! Rounding differences count as idle cost, so the sum is exact.
use flash_protocol::catalogue::NanoDollars;

const SECOND: u128 = 1_000_000_000;
/// The weight of a job that is in no batch. A fine unit, so that the weights of a batch are as exact as its costs.
const ONE: u64 = 1 << 20;
/// A nano-dollar in the unit of the meters, in which an equal division among ordinary jobs leaves no remainder of its own.
const NANO_DOLLAR: u128 = SECOND * ONE as u128;

/// What jobs weigh in the division of a worker's price.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Weight(u64);

impl Weight {
    pub(super) const ORDINARY: Self = Self(ONE);
    /// Of a job that waits for its batch.
    pub(super) const NONE: Self = Self(0);

    /// Those of the jobs of a batch, in proportion to their costs: all together as much as that many ordinary jobs. If no
    /// job has a cost, none of them runs.
    pub(super) fn of_batch(costs: &[u64]) -> Vec<Self> {
        let total: u128 = costs.iter().map(|cost| u128::from(*cost)).sum();
        if total == 0 {
            return vec![Self::NONE; costs.len()];
        }
        let all = u128::from(ONE) * costs.len() as u128;
        let weight = |cost: &u64| u64::try_from(all * u128::from(*cost) / total).unwrap_or(u64::MAX);
        costs.iter().map(|cost| Self(weight(cost).max(1))).collect()
    }
}

/// Nanoseconds since the account was opened.
pub(super) type Moment = u64;

/// The meters' values when a job began, was last charged, or changed its weight.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reading {
    weight: u64,
    meter: u128,
    even: u128,
    /// What it owed then, and was not charged.
    carried: u128,
}

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
    /// The sum of the weights of running jobs.
    weight: u128,
    /// Per weight. The unit is a part of a nano-dollar, as in all that follows: see [`NANO_DOLLAR`].
    meter: u128,
    /// The remainder that could not be divided among the weights of running jobs.
    rest: u128,
    /// Per job, while no running job has a weight.
    even: u128,
    /// Its remainder.
    even_rest: u128,
    /// The sums of the readings of running jobs: of the meter times the weight, which may wrap around, of `even`, and of
    /// `carried`.
    begun: u128,
    even_begun: u128,
    carried: u128,
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
            weight: 0,
            meter: 0,
            rest: 0,
            even: 0,
            even_rest: 0,
            begun: 0,
            even_begun: 0,
            carried: 0,
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
            let owed = u128::from(passed) * u128::from(self.price.0) * u128::from(ONE);
            let (meter, rest, among) = match self.weight {
                0 => (&mut self.even, &mut self.even_rest, u128::from(self.running)),
                weight => (&mut self.meter, &mut self.rest, weight),
            };
            let owed = owed + *rest;
            *meter += owed / among;
            *rest = owed % among;
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
    pub(super) fn began(&mut self, Weight(weight): Weight, now: Moment) -> Reading {
        self.ready(now);
        self.running += 1;
        let reading = Reading { weight, meter: self.meter, even: self.even, carried: 0 };
        self.add(&reading);
        reading
    }

    /// A running job gets another weight.
    pub(super) fn reweigh(&mut self, reading: &mut Reading, Weight(weight): Weight, now: Moment) {
        self.advance(now);
        let carried = self.owed(*reading);
        self.read_again(reading, weight, carried);
    }

    fn read_again(&mut self, reading: &mut Reading, weight: u64, carried: u128) {
        self.remove(reading);
        *reading = Reading { weight, meter: self.meter, even: self.even, carried };
        self.add(reading);
    }

    fn add(&mut self, reading: &Reading) {
        let weight = u128::from(reading.weight);
        self.weight += weight;
        self.begun = self.begun.wrapping_add(weight.wrapping_mul(reading.meter));
        self.even_begun += reading.even;
        self.carried += reading.carried;
    }

    fn remove(&mut self, reading: &Reading) {
        let weight = u128::from(reading.weight);
        self.weight -= weight;
        self.begun = self.begun.wrapping_sub(weight.wrapping_mul(reading.meter));
        self.even_begun -= reading.even;
        self.carried -= reading.carried;
    }

    /// The cost of a running job since `reading`, which is charged now.
    pub(super) fn charge(&mut self, reading: &mut Reading, now: Moment) -> NanoDollars {
        self.advance(now);
        let owed = self.owed(*reading);
        let share = nano_dollars(owed);
        self.read_again(reading, reading.weight, owed - u128::from(share.0) * NANO_DOLLAR);
        self.shares += u128::from(share.0);
        share
    }

    /// Ends a job and returns its cost since `reading`.
    pub(super) fn ended(&mut self, mut reading: Reading, now: Moment) -> NanoDollars {
        let share = self.charge(&mut reading, now);
        self.running -= 1;
        self.remove(&reading);
        if self.running == 0 {
            (self.rest, self.even_rest) = (0, 0);
        }
        share
    }

    /// The cost of a running job if it were charged now.
    pub(super) fn so_far(&mut self, reading: Reading, now: Moment) -> NanoDollars {
        self.advance(now);
        nano_dollars(self.owed(reading))
    }

    fn owed(&self, reading: Reading) -> u128 {
        reading.carried
            + u128::from(reading.weight) * (self.meter - reading.meter)
            + (self.even - reading.even)
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
        let weighed = self.weight.wrapping_mul(self.meter).wrapping_sub(self.begun);
        let running = weighed + u128::from(self.running) * self.even - self.even_begun + self.carried;
        Sums {
            workers: 1,
            start: price * start_time / SECOND,
            run: self.shares + running / NANO_DOLLAR,
            bill: price * life.div_ceil(SECOND),
            start_time,
            run_time: u128::from(self.busy),
            life_time: life,
        }
    }
}

fn nano_dollars(owed: u128) -> NanoDollars {
    NanoDollars(u64::try_from(owed / NANO_DOLLAR).unwrap_or(u64::MAX))
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
        let job = ledger.began(Weight::ORDINARY, 5 * S);
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
        let long = ledger.began(Weight::ORDINARY, 10 * S);
        let short = ledger.began(Weight::ORDINARY, 11 * S);
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
        let job = ledger.began(Weight::ORDINARY, 2 * S);
        ledger.gone(4 * S);
        assert!(!ledger.is_closed());
        assert_eq!(ledger.ended(job, 60 * S), NanoDollars(200));
        assert!(ledger.is_closed());
        assert_eq!(ledger.sums(60 * S).bill, 400);
    }

    #[test]
    fn a_charge_in_between_is_not_charged_again() {
        let mut ledger = ready(3);
        let mut job = ledger.began(Weight::ORDINARY, 2 * S);
        let first = ledger.charge(&mut job, 2 * S + S / 2);
        let second = ledger.ended(job, 4 * S);
        assert_eq!((first, second), (NanoDollars(1), NanoDollars(5)), "no fraction is lost on the way");
    }

    #[test]
    fn jobs_of_a_batch_share_its_time_by_cost_and_those_that_wait_pay_nothing_for_it() {
        let mut ledger = ready(1000);
        let mut batch = [1, 3].map(|_| ledger.began(Weight::NONE, 10 * S));
        let waits = ledger.began(Weight::NONE, 10 * S);
        // For three seconds, all of them wait: a second's price for each.
        for (reading, weight) in batch.iter_mut().zip(Weight::of_batch(&[1, 3])) {
            ledger.reweigh(reading, weight, 13 * S);
        }
        assert_eq!(ledger.sums(17 * S).run, 7000);
        let [cheap, expensive] = batch.map(|reading| ledger.ended(reading, 17 * S).0);
        assert_eq!((cheap, expensive), (1000 + 1000, 1000 + 3000));
        assert_eq!(ledger.ended(waits, 18 * S).0, 1000 + 1000, "alone in the end");
        assert_eq!(ledger.sums(18 * S).run, 8000);
    }

    #[test]
    fn a_batch_weighs_as_much_as_its_jobs_would_alone_and_jobs_without_cost_do_not_run() {
        let mut ledger = ready(900);
        let other = ledger.began(Weight::ORDINARY, 2 * S);
        let mut batch = [5, 15].map(|_| ledger.began(Weight::NONE, 2 * S));
        for (reading, weight) in batch.iter_mut().zip(Weight::of_batch(&[5, 15])) {
            ledger.reweigh(reading, weight, 2 * S);
        }
        let [cheap, expensive] = batch.map(|reading| ledger.ended(reading, 3 * S).0);
        assert_eq!((ledger.ended(other, 3 * S).0, cheap, expensive), (300, 150, 450));
        assert_eq!(Weight::of_batch(&[0, 0]), [Weight::NONE; 2]);
        assert_eq!(Weight::of_batch(&[u64::MAX, 1])[1], Weight(1), "never nothing");
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
                        running.push(Job { reading: ledger.began(Weight::ORDINARY, now), charged: 0, exact: 0 });
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
        fn the_shares_of_batches_add_up_to_their_time(
            price in 0..20_000_000_u64,
            batches in prop::collection::vec((prop::collection::vec(0..10_000_u64, 1..20), 0..3 * S, 0..3 * S), 1..20),
        ) {
            let mut ledger = ready(price);
            let (mut now, mut charged, mut busy, mut count) = (2 * S, 0_u128, 0_u128, 0_u128);
            for (costs, waited, ran) in batches {
                let mut jobs: Vec<Reading> = costs.iter().map(|_| ledger.began(Weight::NONE, now)).collect();
                now += waited;
                for (job, weight) in jobs.iter_mut().zip(Weight::of_batch(&costs)) {
                    ledger.reweigh(job, weight, now);
                }
                now += ran;
                busy += u128::from(waited + ran);
                count += costs.len() as u128;
                let running = ledger.sums(now).run;
                let shares: Vec<u64> = jobs.into_iter().map(|job| ledger.ended(job, now).0).collect();
                charged += shares.iter().map(|share| u128::from(*share)).sum::<u128>();
                prop_assert_eq!(ledger.sums(now).run, charged, "what jobs were charged");
                prop_assert!(running >= charged && running - charged <= costs.len() as u128);
                for (one, other) in costs.iter().zip(&shares).zip(costs.iter().zip(&shares).skip(1)) {
                    // Whoever costs more never pays less, but for a nano-dollar of rounding.
                    prop_assert!(one.0 > other.0 || *one.1 <= *other.1 + 1);
                }
            }
            ledger.gone(now);
            let exact = busy * u128::from(price) / SECOND;
            prop_assert!(charged <= exact && exact - charged <= 2 * count, "{charged} of {exact}");
        }

        #[test]
        fn jobs_that_begin_and_end_together_owe_the_same(
            price in 0..20_000_000_u64, jobs in 1..50_usize, time in 0..100 * S,
        ) {
            let mut ledger = ready(price);
            let running: Vec<Reading> = (0..jobs).map(|_| ledger.began(Weight::ORDINARY, 3 * S)).collect();
            let shares: Vec<u64> =
                running.into_iter().map(|reading| ledger.ended(reading, 3 * S + time).0).collect();
            prop_assert!(shares.iter().all(|share| *share == shares[0]));
            let whole = u128::from(price) * u128::from(time) / SECOND;
            let sum: u128 = shares.iter().map(|share| u128::from(*share)).sum();
            prop_assert!(sum <= whole && whole - sum <= jobs as u128);
        }
    }
}
