//! The numbers, as a table and as JSON, compared with the aims.
use std::{fmt::Write as _, time::Duration};

use serde::Serialize;

use super::{
    super::{
        compare::counted,
        load::Measured,
        report::{Aim, aims_table},
    },
    held::Held,
    jobs::Row,
    machine::{Machine, PerJob},
    million::Million,
    official,
};
use crate::failure::Failure;

/// How much slower the last tenth of a long queue may be accepted than the first.
const FLAT: f64 = 0.8;

/// All measurements.
#[derive(Serialize)]
pub(super) struct Report {
    machine: Machine,
    seconds: u64,
    idle_mb: f64,
    jobs: Vec<Row>,
    /// Empty if it was skipped.
    official: Vec<official::Row>,
    held: Held,
    queue: Million,
    aims: Vec<Aim>,
}

impl Report {
    pub(super) fn new(
        machine: Machine,
        time: Duration,
        idle_mb: f64,
        jobs: Vec<Row>,
        official: Vec<official::Row>,
        held: Held,
        queue: Million,
    ) -> Self {
        let aims = aims(idle_mb, &jobs, &official, &queue);
        Self { machine, seconds: time.as_secs(), idle_mb, jobs, official, held, queue, aims }
    }

    pub(super) fn json(&self) -> Result<String, Failure> {
        serde_json::to_string_pretty(self).map_err(Failure::at("the report has no JSON form"))
    }

    pub(super) fn table(&self) -> String {
        let Machine { cores, cpu, memory_mb, load_before } = &self.machine;
        let mut text = format!(
            "{cores} cores of {cpu}, {memory_mb} MB; load before the start: {load_before:.1}\n\
             Load generator, platform and one worker process share the cores. {} s a measurement.\n",
            self.seconds
        );
        self.throughput(&mut text);
        self.beside_official(&mut text);
        self.memory(&mut text);
        text.push_str("\nAims, on two cores that do nothing else\n");
        text.push_str(&aims_table(&self.aims));
        text.trim_end().to_owned()
    }

    fn throughput(&self, text: &mut String) {
        line(text, "\nJobs that return their small input; CPU time of one job in microseconds".to_owned());
        line(
            text,
            format!(
                "  {:<36} {:>9} {:>9} {:>9} {:>9} {:>7} {:>9}",
                "", "jobs/s", "p50 ms", "p99 ms", "platform", "worker", "generator"
            ),
        );
        for Row { what, connections, measured, cpu } in &self.jobs {
            let Measured { requests_per_second, p50_ms, p99_ms } = measured;
            let PerJob { platform_us, worker_us, load_generator_us } = cpu;
            let what = format!("{what}, {}", counted(*connections));
            line(
                text,
                format!(
                    "  {what:<36} {requests_per_second:>9.0} {p50_ms:>9.3} {p99_ms:>9.3} {platform_us:>9.0} \
                     {worker_us:>7.0} {load_generator_us:>9.0}"
                ),
            );
        }
    }

    fn beside_official(&self, text: &mut String) {
        if self.official.is_empty() {
            return;
        }
        line(text, "\nJobs/s of one worker, by the same platform".to_owned());
        line(
            text,
            format!("  {:<28} {:>9} {:>11} {:>12} {:>8}", "", "ours", "official, 1", "official,200", "ratio"),
        );
        for row in &self.official {
            let official::Row { what, ours, official_one, official_many } = row;
            let ratio = row.ratio();
            line(
                text,
                format!("  {what:<28} {ours:>9.0} {official_one:>11.1} {official_many:>12.1} {ratio:>7.1}x"),
            );
        }
    }

    fn memory(&self, text: &mut String) {
        let Million {
            jobs,
            idle_mb,
            enqueued_per_second,
            first_per_second,
            last_per_second,
            queued_mb,
            status_p50_ms,
            status_p99_ms,
            empty_restart_seconds,
            restart_seconds,
            restart_cpu_seconds,
            restarted_mb,
        } = self.queue;
        let Held { connections, before_mb, held_mb, kb_per_connection } = self.held;
        line(text, "\nMemory of the platform (resident)".to_owned());
        line(text, format!("  idle {:.1} MB, with --keep {idle_mb:.1} MB", self.idle_mb));
        line(
            text,
            format!(
                "  {connections} held `stream` connections: {before_mb:.1} MB to {held_mb:.1} MB, \
                 {kb_per_connection:.1} kB each"
            ),
        );
        line(text, format!("  {jobs} queued jobs {queued_mb:.0} MB, after a restart {restarted_mb:.0} MB"));
        line(text, format!("\nA queue of {jobs} jobs, kept"));
        line(
            text,
            format!(
                "  came in with {enqueued_per_second:.0}/s; the first tenth {first_per_second:.0}/s, the last \
                 {last_per_second:.0}/s"
            ),
        );
        line(text, format!("  status of one: p50 {status_p50_ms:.3} ms, p99 {status_p99_ms:.3} ms"));
        line(
            text,
            format!(
                "  killed and started: first status after {restart_seconds:.2} s, {restart_cpu_seconds:.2} s of \
                 CPU; without jobs {empty_restart_seconds:.2} s (cargo's look at the app is in both)"
            ),
        );
    }
}

fn aims(idle_mb: f64, jobs: &[Row], official: &[official::Row], queue: &Million) -> Vec<Aim> {
    let best = |what: &str| {
        let rates = jobs.iter().filter(|row| row.what == what).map(|row| row.measured.requests_per_second);
        rates.fold(f64::NAN, f64::max)
    };
    let median = jobs.iter().find(|row| row.what == "runsync" && row.connections == 1);
    let median = median.map_or(f64::NAN, |row| row.measured.p50_ms);
    let flat = queue.last_per_second / queue.first_per_second;
    let mut aims = vec![
        Aim::at_least("runsync, most jobs/s", best("runsync"), 10_000.0),
        Aim::at_least("run+status, most jobs/s", best("run+status"), 10_000.0),
        Aim::at_least("run+status, kept, most jobs/s", best("run+status, kept"), 10_000.0),
        Aim::below("runsync, 1 connection, median ms", median, 1.0),
        Aim::below("platform idle, MB", idle_mb, 40.0),
        Aim::below("platform with the long queue, MB", queue.queued_mb, 1000.0),
        Aim::below("restart with the long queue, s", queue.restart_seconds, 5.0),
        Aim::below("of it by the jobs, s", queue.added_seconds(), 5.0),
        Aim::at_least("last tenth of the queue / first, rate", flat, FLAT),
    ];
    // Its best setting under its best load, compared with the same of ours.
    let (ours, theirs) = official
        .iter()
        .fold((f64::NAN, f64::NAN), |(ours, theirs), row| (row.ours.max(ours), row.official().max(theirs)));
    if !official.is_empty() {
        aims.push(Aim::at_least("best of ours / best of the official worker", ours / theirs, 2.5));
        for row in official {
            aims.push(Aim::at_least(&format!("  {}", row.what), row.ratio(), 2.5));
        }
    }
    aims
}

fn line(text: &mut String, line: String) {
    // Writing to a string does not fail.
    let _ = writeln!(text, "{line}");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(what: &'static str, connections: usize, requests_per_second: f64, p50_ms: f64) -> Row {
        Row {
            what,
            connections,
            measured: Measured { requests_per_second, p50_ms, p99_ms: 9.0 },
            cpu: PerJob { platform_us: 1.0, worker_us: 1.0, load_generator_us: 1.0 },
        }
    }

    fn report() -> Report {
        let queue = Million {
            jobs: 1_000_000,
            idle_mb: 20.0,
            enqueued_per_second: 9000.0,
            first_per_second: 10_000.0,
            last_per_second: 7000.0,
            queued_mb: 900.0,
            status_p50_ms: 0.1,
            status_p99_ms: 0.2,
            empty_restart_seconds: 0.5,
            restart_seconds: 4.5,
            restart_cpu_seconds: 3.5,
            restarted_mb: 800.0,
        };
        let held = Held { connections: 5000, before_mb: 20.0, held_mb: 120.0, kb_per_connection: 20.0 };
        let official = |what: &str, ours, official_many| official::Row {
            what: what.to_owned(),
            ours,
            official_one: 1.0,
            official_many,
        };
        let official = vec![official("a full queue", 9000.0, 3000.0), official("runsync", 100.0, 4500.0)];
        let jobs = vec![row("runsync", 1, 900.0, 1.1), row("runsync", 64, 12_000.0, 5.0)];
        let machine = Machine { cores: 2, cpu: "some CPU".to_owned(), memory_mb: 8000, load_before: 0.1 };
        Report::new(machine, Duration::from_secs(5), 21.0, jobs, official, held, queue)
    }

    #[test]
    fn each_aim_is_judged_by_its_own_number() {
        let table = report().table();
        let verdict = |what: &str| {
            let line = table.lines().find(|line| line.trim_start().starts_with(what) && line.contains("met"));
            let line = line.or_else(|| table.lines().find(|line| line.trim_start().starts_with(what)));
            line.map(|line| line.ends_with("  met")).unwrap_or_else(|| panic!("{what} in {table}"))
        };
        assert!(verdict("runsync, most jobs/s"));
        assert!(!verdict("run+status, most jobs/s"), "what was not measured is not met");
        assert!(!verdict("runsync, 1 connection, median"));
        assert!(verdict("platform idle"));
        assert!(verdict("restart with the long queue"));
        assert!(!verdict("last tenth of the queue"));
        assert!(!verdict("best of ours"));
    }

    #[test]
    fn the_report_says_who_shares_the_cores_and_what_else_ran() {
        let table = report().table();
        assert!(table.contains("2 cores of some CPU, 8000 MB; load before the start: 0.1"), "{table}");
        assert!(table.contains("Load generator, platform and one worker process share the cores"), "{table}");
        assert!(report().json().unwrap().contains(r#""load_generator_us""#));
    }
}
