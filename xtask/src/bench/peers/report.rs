//! The numbers of all peers, as a table and as JSON.
use std::fmt::Write as _;

use serde::Serialize;

use super::{
    super::compare::{Comparison, Plan, ROUNDS, Rounds},
    peer::Peer,
};
use crate::failure::Failure;

/// All measurements.
#[derive(Serialize)]
pub(super) struct Report {
    /// Shared by load generator, servers and workers.
    cores: usize,
    /// With its version.
    python: String,
    seconds: u64,
    peers: Vec<OfPeer>,
}

/// One peer against flash.
#[derive(Serialize)]
pub(super) struct OfPeer {
    peer: &'static str,
    version: String,
    /// One for each number of connections.
    measured: Vec<Measured>,
}

/// Both sides at one number of connections.
#[derive(Serialize)]
struct Measured {
    connections: usize,
    /// Requests per second, flash / peer; none if a side was not steady.
    throughput_ratio: Option<f64>,
    flash: Rounds,
    peer: Rounds,
}

impl OfPeer {
    pub(super) fn new(peer: Peer, version: String, comparisons: Vec<Comparison>) -> Self {
        let measured = comparisons.into_iter().map(Measured::from).collect();
        Self { peer: peer.title(), version, measured }
    }
}

impl From<Comparison> for Measured {
    fn from(comparison: Comparison) -> Self {
        Self {
            connections: comparison.connections,
            throughput_ratio: comparison.is_steady().then_some(comparison.throughput_ratio),
            flash: comparison.flash,
            peer: comparison.handwritten,
        }
    }
}

impl Report {
    pub(super) fn new(plan: &Plan, python: &str, peers: Vec<OfPeer>) -> Self {
        Self {
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            python: python.to_owned(),
            seconds: plan.time.as_secs(),
            peers,
        }
    }

    pub(super) fn json(&self) -> Result<String, Failure> {
        serde_json::to_string_pretty(self).map_err(Failure::at("the report has no JSON form"))
    }

    pub(super) fn table(&self) -> String {
        let mut text = format!(
            "{} cores, shared by load generator, servers and workers; {}; {} s a measurement, medians of {ROUNDS} \
             rounds\n\n",
            self.cores, self.python, self.seconds
        );
        // Writing to a string does not fail.
        let _ = writeln!(
            text,
            "{:37}{:^27}{:^22}{:^20}",
            "POST /classify, three stages", "req/s", "p50 ms", "CPU µs"
        );
        let _ = writeln!(
            text,
            "{:<12}{:<12}{:>11}  {:>9}{:>9}{:>9}{:>11}{:>11}{:>10}{:>10}",
            "peer", "version", "connections", "flash", "peer", "ratio", "flash", "peer", "flash", "peer"
        );
        for of_peer in &self.peers {
            for measured in &of_peer.measured {
                let _ = writeln!(text, "{}", row(of_peer, measured));
            }
        }
        let rows = || self.peers.iter().flat_map(|of_peer| &of_peer.measured);
        if rows().any(|measured| measured.throughput_ratio.is_none()) {
            text.push_str(
                "\nunsteady: the first and the last rounds of a side differ by over 15 %: no result\n",
            );
        }
        if self.peers.iter().any(|of_peer| of_peer.peer == Peer::Litserve.title()) {
            text.push_str("\nLitServe runs the stages in one process, where the others have three or more\n");
        }
        text.trim_end().to_owned()
    }
}

fn row(of_peer: &OfPeer, measured: &Measured) -> String {
    let Measured { connections, throughput_ratio, flash, peer } = measured;
    let ratio = throughput_ratio.map_or_else(|| "unsteady".to_owned(), |ratio| format!("{ratio:.1}x"));
    format!(
        "{:<12}{:<12}{connections:>11}  {:>9.0}{:>9.0}{ratio:>9}{:>11.2}{:>11.2}{:>10.0}{:>10.0}",
        of_peer.peer,
        of_peer.version,
        flash.median.requests_per_second,
        peer.median.requests_per_second,
        flash.median.p50_ms,
        peer.median.p50_ms,
        flash.cpu_us,
        peer.cpu_us,
    )
}

#[cfg(test)]
mod tests {
    use super::{super::super::load, *};

    fn side(requests_per_second: f64, p50_ms: f64, cpu_us: f64) -> Rounds {
        let median = load::Measured { requests_per_second, p50_ms, p99_ms: 0.0 };
        Rounds { median, cpu_us, spread: 0.0, drift: 0.0, rounds: Vec::new() }
    }

    fn comparison(drift: f64) -> Comparison {
        Comparison {
            connections: 64,
            flash: side(4000.0, 14.25, 340.4),
            handwritten: Rounds { drift, ..side(500.0, 120.0, 3900.0) },
            throughput_ratio: 8.0,
            added_p50_ms: 0.0,
        }
    }

    fn report(peer: Peer, drift: f64) -> Report {
        let of_peer = OfPeer::new(peer, "1.2.3".to_owned(), vec![comparison(drift)]);
        Report { cores: 2, python: "Python 3.11.7".to_owned(), seconds: 10, peers: vec![of_peer] }
    }

    #[test]
    fn a_row_has_both_sides_and_their_ratio() {
        let table = report(Peer::Ray, 0.1).table();
        let row: Vec<&str> = table.lines().last().unwrap().split_whitespace().collect();
        let expected =
            ["Ray", "Serve", "1.2.3", "64", "4000", "500", "8.0x", "14.25", "120.00", "340", "3900"];
        assert_eq!(row, expected, "{table}");
    }

    #[test]
    fn columns_are_below_their_heads() {
        let table = report(Peer::Ray, 0.1).table();
        let lines: Vec<&str> = table.lines().skip(3).collect();
        let [head, row] = lines.as_slice() else { panic!("{table}") };
        assert_eq!(head.chars().count(), row.chars().count(), "{table}");
    }

    #[test]
    fn a_side_that_drifted_has_no_ratio() {
        let report = report(Peer::Bentoml, 0.2);
        let table = report.table();
        assert!(!table.contains("8.0x") && table.contains(" unsteady "), "{table}");
        assert!(table.contains("no result"), "{table}");
        let json: serde_json::Value = serde_json::from_str(&report.json().unwrap()).unwrap();
        assert!(json["peers"][0]["measured"][0]["throughput_ratio"].is_null(), "{json}");
    }

    #[test]
    fn the_peer_that_does_less_is_told_apart() {
        assert!(report(Peer::Litserve, 0.0).table().ends_with("where the others have three or more"));
        assert!(!report(Peer::Fastapi, 0.0).table().contains("LitServe"));
    }
}
