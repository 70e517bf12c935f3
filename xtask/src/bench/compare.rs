//! Measures two targets in turns.
use std::time::Duration;

use serde::Serialize;

use super::load::{self, Measured, Target};
use crate::{failure::Failure, output};

/// Odd, for the medians.
const ROUNDS: usize = 3;

/// How to measure.
pub(super) struct Plan {
    /// The numbers of connections, each measured separately; the first is 1.
    pub connections: Vec<usize>,
    /// Of one measurement.
    pub time: Duration,
}

/// Both sides at one number of connections.
#[derive(Debug, Serialize)]
pub(super) struct Comparison {
    pub connections: usize,
    pub flash: Measured,
    pub handwritten: Measured,
    /// Requests per second, flash / hand-written.
    pub throughput_ratio: f64,
    /// Median latency, flash − hand-written.
    pub added_p50_ms: f64,
}

/// Measures A, B, A, B, …, so that a drift of the machine affects both; returns medians of the rounds.
pub(super) async fn compare(
    flash: &Target,
    handwritten: &Target,
    plan: &Plan,
) -> Result<Vec<Comparison>, Failure> {
    let mut comparisons = Vec::new();
    for &connections in &plan.connections {
        let (mut of_flash, mut of_handwritten) = (Vec::new(), Vec::new());
        for round in 1..=ROUNDS {
            for (target, rounds) in [(flash, &mut of_flash), (handwritten, &mut of_handwritten)] {
                let measured = load::measure(target, connections, plan.time).await?;
                output::say("Measured", &progress(target, connections, round, &measured));
                rounds.push(measured);
            }
        }
        let (flash, handwritten) = (median(&of_flash), median(&of_handwritten));
        comparisons.push(Comparison {
            connections,
            throughput_ratio: flash.requests_per_second / handwritten.requests_per_second,
            added_p50_ms: flash.p50_ms - handwritten.p50_ms,
            flash,
            handwritten,
        });
    }
    Ok(comparisons)
}

fn progress(target: &Target, connections: usize, round: usize, measured: &Measured) -> String {
    let Measured { requests_per_second, p50_ms, p99_ms } = measured;
    format!(
        "{}, {}, round {round} of {ROUNDS}: {requests_per_second:.0} req/s, \
         p50 {p50_ms:.3} ms, p99 {p99_ms:.3} ms",
        target.name,
        counted(connections),
    )
}

/// `1 connection`, `64 connections`.
pub(super) fn counted(connections: usize) -> String {
    format!("{connections} connection{}", if connections == 1 { "" } else { "s" })
}

/// The median of each number separately.
fn median(rounds: &[Measured]) -> Measured {
    let of = |number: fn(&Measured) -> f64| median_of(rounds.iter().map(number).collect());
    Measured {
        requests_per_second: of(|round| round.requests_per_second),
        p50_ms: of(|round| round.p50_ms),
        p99_ms: of(|round| round.p99_ms),
    }
}

/// The middle value, the lower of two; `NaN` if there are none.
pub(super) fn median_of(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len().saturating_sub(1) / 2).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_number_has_its_own_median() {
        let round = |requests_per_second, p50_ms| Measured { requests_per_second, p50_ms, p99_ms: 0.0 };
        let median = median(&[round(1.0, 9.0), round(5.0, 2.0), round(3.0, 4.0)]);
        assert_eq!((median.requests_per_second, median.p50_ms), (3.0, 4.0));
    }
}
