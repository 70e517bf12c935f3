//! Measures two targets in turns.
use std::{num::NonZeroUsize, time::Duration};

use clap::Args;
use serde::Serialize;

use super::{
    cpu::{CpuTimes, ProcessCpu},
    load::{self, Measured, Target, WARM_UP},
};
use crate::{failure::Failure, output};

/// Odd, for the medians; with two halves of at least two rounds.
pub(super) const ROUNDS: usize = 5;

/// If the halves of a side differ by a larger part than this, the machine was not steady enough for a result.
const STEADY: f64 = 0.15;

/// How to measure.
pub(super) struct Plan {
    /// The numbers of connections, each measured separately; the first is 1.
    pub connections: Vec<usize>,
    /// Of one measurement.
    pub time: Duration,
}

/// How to measure, as it is asked for.
#[derive(Args)]
pub(super) struct PlanArguments {
    /// Seconds of one measurement, after 2 seconds of warm-up. Each is taken in five rounds, and the medians are
    /// reported.
    #[arg(long, default_value = "10")]
    seconds: NonZeroUsize,
    /// Connections of the measurements under load; one connection is always measured too.
    #[arg(long, default_value = "64")]
    connections: NonZeroUsize,
}

impl PlanArguments {
    pub(super) fn plan(&self) -> Plan {
        Plan {
            connections: vec![1, self.connections.get()],
            time: Duration::from_secs(self.seconds.get() as u64),
        }
    }
}

/// What is measured, and the processes that serve it.
pub(super) struct Side {
    pub target: Target,
    /// Those that were started for it; what they started counts as well.
    pub servers: Vec<u32>,
}

/// One measurement of a side.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Round {
    #[serde(flatten)]
    pub measured: Measured,
    /// Includes the warm-up.
    pub cpu: Vec<ProcessCpu>,
}

impl Round {
    fn cpu_us(&self) -> f64 {
        self.cpu.iter().map(|process| process.us_per_request).sum()
    }
}

/// All rounds of a side.
#[derive(Debug, Serialize)]
pub(super) struct Rounds {
    /// Of each number separately.
    pub median: Measured,
    /// CPU microseconds of a request in all processes, median.
    pub cpu_us: f64,
    /// Most less least requests per second, as a part of the median.
    pub spread: f64,
    /// Difference of the first and the last rounds' requests per second, as a part of the larger.
    pub drift: f64,
    pub rounds: Vec<Round>,
}

/// Both sides at one number of connections.
#[derive(Debug, Serialize)]
pub(super) struct Comparison {
    pub connections: usize,
    pub flash: Rounds,
    pub handwritten: Rounds,
    /// Requests per second, flash / hand-written.
    pub throughput_ratio: f64,
    /// Median latency, flash − hand-written.
    pub added_p50_ms: f64,
}

impl Comparison {
    /// Whether the machine was steady enough for a result.
    pub(super) fn is_steady(&self) -> bool {
        self.flash.drift <= STEADY && self.handwritten.drift <= STEADY
    }
}

/// Measures A, B, A, B, …, so that a drift of the machine affects both; returns medians of the rounds.
pub(super) async fn compare(
    flash: &Side,
    handwritten: &Side,
    plan: &Plan,
) -> Result<Vec<Comparison>, Failure> {
    let mut comparisons = Vec::new();
    for &connections in &plan.connections {
        let (mut of_flash, mut of_handwritten) = (Vec::new(), Vec::new());
        for number in 1..=ROUNDS {
            for (side, rounds) in [(flash, &mut of_flash), (handwritten, &mut of_handwritten)] {
                let round = measure(side, connections, plan.time).await?;
                output::say("Measured", &progress(&side.target, connections, number, &round));
                rounds.push(round);
            }
        }
        let (flash, handwritten) = (Rounds::of(of_flash), Rounds::of(of_handwritten));
        comparisons.push(Comparison {
            connections,
            throughput_ratio: flash.median.requests_per_second / handwritten.median.requests_per_second,
            added_p50_ms: flash.median.p50_ms - handwritten.median.p50_ms,
            flash,
            handwritten,
        });
    }
    Ok(comparisons)
}

async fn measure(side: &Side, connections: usize, time: Duration) -> Result<Round, Failure> {
    let before = CpuTimes::look(&side.servers);
    let measured = load::measure(&side.target, connections, time).await?;
    // The warm-up ran at the same speed; its requests are not counted.
    let requests = measured.requests_per_second * (time + WARM_UP).as_secs_f64();
    let cpu = CpuTimes::look(&side.servers).per_request(&before, requests);
    Ok(Round { measured, cpu })
}

fn progress(target: &Target, connections: usize, number: usize, round: &Round) -> String {
    let Measured { requests_per_second, p50_ms, p99_ms } = round.measured;
    format!(
        "{}, {}, round {number} of {ROUNDS}: {requests_per_second:.0} req/s, \
         p50 {p50_ms:.3} ms, p99 {p99_ms:.3} ms, CPU {:.0} µs",
        target.name,
        counted(connections),
        round.cpu_us(),
    )
}

impl Rounds {
    fn of(rounds: Vec<Round>) -> Self {
        let of = |number: &dyn Fn(&Round) -> f64| median_of(rounds.iter().map(number).collect());
        let per_second = |round: &Round| round.measured.requests_per_second;
        let median = Measured {
            requests_per_second: of(&per_second),
            p50_ms: of(&|round| round.measured.p50_ms),
            p99_ms: of(&|round| round.measured.p99_ms),
        };
        let rates: Vec<f64> = rounds.iter().map(per_second).collect();
        let most = rates.iter().copied().fold(0.0, f64::max);
        let least = rates.iter().copied().fold(f64::INFINITY, f64::min);
        let spread = (most - least) / median.requests_per_second;
        Self { median, cpu_us: of(&Round::cpu_us), spread, drift: drift(&rates), rounds }
    }
}

/// The middle one of an odd number of rounds belongs to neither half.
fn drift(rates: &[f64]) -> f64 {
    let half = rates.len() / 2;
    let sum = |part: &[f64]| part.iter().sum::<f64>();
    let (first, last) = (sum(&rates[..half]), sum(&rates[rates.len() - half..]));
    (first - last).abs() / first.max(last)
}

/// `1 connection`, `64 connections`.
pub(super) fn counted(connections: usize) -> String {
    format!("{connections} connection{}", if connections == 1 { "" } else { "s" })
}

/// The middle value, the lower of two; `NaN` if there are none.
pub(super) fn median_of(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len().saturating_sub(1) / 2).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round(requests_per_second: f64, p50_ms: f64, us_per_request: f64) -> Round {
        let process = |name: &str| ProcessCpu { name: name.to_owned(), us_per_request };
        let measured = Measured { requests_per_second, p50_ms, p99_ms: 0.0 };
        Round { measured, cpu: vec![process("flash"), process("classify")] }
    }

    #[test]
    fn each_number_has_its_own_median() {
        let rounds = Rounds::of(vec![round(1.0, 9.0, 7.0), round(5.0, 2.0, 3.0), round(3.0, 4.0, 5.0)]);
        let Rounds { median, cpu_us, spread, .. } = rounds;
        assert_eq!((median.requests_per_second, median.p50_ms, cpu_us), (3.0, 4.0, 10.0));
        assert!((spread - 4.0 / 3.0).abs() < 1e-9, "{spread}");
    }

    #[test]
    fn halves_that_differ_are_no_result() {
        let side = |rates: &[f64]| Rounds::of(rates.iter().map(|rate| round(*rate, 1.0, 1.0)).collect());
        let comparison = |flash, handwritten| Comparison {
            connections: 64,
            flash: side(flash),
            handwritten: side(handwritten),
            throughput_ratio: 1.0,
            added_p50_ms: 0.0,
        };
        let (steady, drifting) = ([100.0, 90.0, 1.0, 95.0, 95.0], [100.0, 100.0, 100.0, 80.0, 80.0]);
        assert!(comparison(&steady, &steady).is_steady());
        assert!(!comparison(&drifting, &steady).is_steady());
        assert!(!comparison(&steady, &drifting).is_steady());
    }
}
