//! The numbers, as a table and as JSON, compared with the aims.
use std::{fmt::Write as _, time::Duration};

use serde::Serialize;

use super::{
    compare::{Comparison, ROUNDS, counted},
    first_job::FirstJob,
    pictures::Pictures,
    pipeline::HOPS,
};
use crate::failure::Failure;

/// All measurements.
#[derive(Serialize)]
pub(super) struct Report {
    /// Shared by load generator, servers and workers.
    cores: usize,
    seconds: u64,
    /// One row for each number of connections.
    pipeline: Vec<Comparison>,
    /// What flash adds to one hop of the pipeline on one connection.
    pipeline_added_p50_ms_per_hop: f64,
    noop: Vec<Comparison>,
    pictures: Pictures,
    first_job: FirstJob,
    aims: Vec<Aim>,
}

/// A number and its bound.
#[derive(Serialize)]
pub(super) struct Aim {
    what: String,
    aim: String,
    measured: f64,
    verdict: Verdict,
}

/// Whether an aim is met.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Verdict {
    Met,
    NotMet,
    /// The machine was not steady enough to tell.
    Unsteady,
}

impl Verdict {
    fn of(met: bool) -> Self {
        if met { Self::Met } else { Self::NotMet }
    }

    fn text(self) -> &'static str {
        match self {
            Self::Met => "met",
            Self::NotMet => "not met",
            Self::Unsteady => "no result: rounds differ too much",
        }
    }
}

impl Aim {
    pub(super) fn at_least(what: &str, measured: f64, bound: f64) -> Self {
        let verdict = Verdict::of(measured >= bound);
        Self { what: what.to_owned(), aim: format!(">= {bound}"), measured, verdict }
    }

    pub(super) fn below(what: &str, measured: f64, bound: f64) -> Self {
        let verdict = Verdict::of(measured < bound);
        Self { what: what.to_owned(), aim: format!("< {bound}"), measured, verdict }
    }

    /// Judged only if the machine was steady in this comparison.
    fn if_steady(mut self, compared: Option<&Comparison>) -> Self {
        if !compared.is_some_and(Comparison::is_steady) {
            self.verdict = Verdict::Unsteady;
        }
        self
    }
}

/// One line for each.
pub(super) fn aims_table(aims: &[Aim]) -> String {
    let mut text = String::new();
    for Aim { what, aim, measured, verdict } in aims {
        let verdict = verdict.text();
        line(&mut text, format!("  {what:<46} {aim:>9}  measured {measured:>9.3}  {verdict}"));
    }
    text
}

impl Report {
    pub(super) fn new(
        time: Duration,
        pipeline: Vec<Comparison>,
        noop: Vec<Comparison>,
        pictures: Pictures,
        first_job: FirstJob,
    ) -> Self {
        let added = pipeline.first().map_or(f64::NAN, |one| one.added_p50_ms / HOPS);
        let (connections, ratio) =
            pipeline.last().map_or((0, f64::NAN), |loaded| (loaded.connections, loaded.throughput_ratio));
        let aims = vec![
            Aim::at_least(&format!("pipeline, throughput at {connections} connections, ratio"), ratio, 0.5)
                .if_steady(pipeline.last()),
            Aim::below("pipeline, added median per hop, ms", added, 0.3).if_steady(pipeline.first()),
            Aim::below("first job from no worker, ms", first_job.median_ms, 30.0),
        ];
        Self {
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            seconds: time.as_secs(),
            pipeline,
            pipeline_added_p50_ms_per_hop: added,
            noop,
            pictures,
            first_job,
            aims,
        }
    }

    pub(super) fn json(&self) -> Result<String, Failure> {
        serde_json::to_string_pretty(self).map_err(Failure::at("the report has no JSON form"))
    }

    pub(super) fn table(&self) -> String {
        let mut text = format!(
            "{} cores, shared by load generator, servers and workers; {} s a measurement, medians of {ROUNDS} rounds\n",
            self.cores, self.seconds
        );
        comparisons(&mut text, "Pipeline: POST /classify, three stages", &self.pipeline);
        let added = self.pipeline_added_p50_ms_per_hop;
        line(&mut text, format!("  added median latency per hop, 1 connection: {added:.3} ms ({HOPS} hops)"));
        comparisons(&mut text, "No-op: POST /v2/noop_worker/runsync", &self.noop);
        let Pictures { bytes, base64 } = self.pictures;
        line(&mut text, "\nPictures: 8 MB through three workers, 1 connection".to_owned());
        line(
            &mut text,
            format!(
                "  p50 {:.1} ms as bytes, {:.1} ms as base64: {:.1} times as fast",
                bytes.p50_ms,
                base64.p50_ms,
                base64.p50_ms / bytes.p50_ms
            ),
        );
        let FirstJob { tries, median_ms, least_ms, most_ms } = self.first_job;
        line(&mut text, "\nFrom no worker to the first finished job".to_owned());
        line(
            &mut text,
            format!("  median {median_ms:.1} ms, {least_ms:.1} to {most_ms:.1} ms, {tries} tries"),
        );
        line(&mut text, "\nAims".to_owned());
        text.push_str(&aims_table(&self.aims));
        text.trim_end().to_owned()
    }
}

fn comparisons(text: &mut String, title: &str, comparisons: &[Comparison]) {
    line(text, format!("\n{title}"));
    line(text, format!("  {:<24} {:>12} {:>12} {:>8}", "", "flash", "by hand", "ratio"));
    for comparison in comparisons {
        let Comparison { flash, handwritten, .. } = comparison;
        let connections = counted(comparison.connections);
        let (of_flash, by_hand) = (&flash.median, &handwritten.median);
        let rows = [
            ("req/s", 0, of_flash.requests_per_second, by_hand.requests_per_second),
            ("p50 ms", 3, of_flash.p50_ms, by_hand.p50_ms),
            ("p99 ms", 3, of_flash.p99_ms, by_hand.p99_ms),
            ("CPU µs", 0, flash.cpu_us, handwritten.cpu_us),
        ];
        for (unit, digits, flash, handwritten) in rows {
            let what = format!("{connections}, {unit}");
            let ratio = flash / handwritten;
            line(text, format!("  {what:<24} {flash:>12.digits$} {handwritten:>12.digits$} {ratio:>7.2}x"));
        }
        let what = format!("{connections}, spread");
        let percent = |part: f64| format!("{:.0} %", part * 100.0);
        line(text, format!("  {what:<24} {:>12} {:>12}", percent(flash.spread), percent(handwritten.spread)));
        if !comparison.is_steady() {
            line(text, "    the first and the last rounds differ by over 15 %: no result".to_owned());
        }
        for process in flash.rounds.last().into_iter().flat_map(|round| &round.cpu) {
            // Those of other worker types have next to nothing to do.
            if process.us_per_request >= 1.0 {
                let what = format!("  CPU µs, {}", process.name);
                line(text, format!("  {what:<24} {:>12.0}", process.us_per_request));
            }
        }
    }
}

fn line(text: &mut String, line: String) {
    // Writing to a string does not fail.
    let _ = writeln!(text, "{line}");
}
