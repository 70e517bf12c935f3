//! Tests the store after a power loss: exactly the commits before it must be left.
//!
//! With `PowerLoss`, a commit is on disk before it is reported, so no reported commit is lost. With `Machine`, only
//! checkpoints synchronise the log: commits since the last checkpoint may be missing from some point on, but the rest
//! is a past state.
use std::{collections::BTreeMap, path::Path, time::Duration};

use flash_protocol::{
    catalogue::NanoDollars,
    wire::{RawJson, envelope::Envelope},
};
use flash_test_support::wal_cuts::{Cut, checkpoints, cuts, end_of, log_of};
use rusqlite::Connection;
use tempfile::TempDir;

use super::{
    super::{
        clock::{Clock, Timestamp},
        id::JobId,
        state::Outcome,
        ticket::Seq,
    },
    open_error::Durability,
    record::{Change, End, Record},
    schema, writer,
};

/// What is known of each job: how it ended, if it has, and its attempts.
type Known = BTreeMap<JobId, (Option<String>, u32)>;

fn json(text: String) -> RawJson {
    serde_json::value::RawValue::from_string(text).unwrap()
}

fn accepted(seq: u64) -> Change {
    Change::Accepted(Box::new(Record {
        seq: Seq(seq),
        endpoint: "gpu".into(),
        id: JobId::of_run(),
        sync_origin: false,
        submitted_at: Timestamp(1),
        expires_at: Timestamp(u64::MAX >> 1),
        execution_timeout: Duration::from_secs(600),
        ttl: Duration::from_secs(600),
        low_priority: false,
        attempts: 0,
        attempts_before: 0,
        failures: 0,
        not_before: None,
        cost: NanoDollars(0),
        envelope: Envelope::default(),
        extras: None,
        // One in four does not fit on a page.
        input: json(format!("\"{}\"", "x".repeat(if seq.is_multiple_of(6) { 9_000 } else { 100 }))).into(),
        release: 1,
    }))
}

fn ended(seq: u64) -> Change {
    let outcome = match seq % 3 {
        0 => Outcome::Completed(json(seq.to_string()).into()),
        1 => Outcome::Failed(format!("job {seq}")),
        _ => Outcome::Dead(format!("job {seq}")),
    };
    Change::Ended {
        seq: Seq(seq),
        end: Box::new(End {
            outcome,
            worker: Some("w".into()),
            attempts: 1,
            delay: Duration::ZERO,
            ran: Duration::ZERO,
            cost: NanoDollars(1),
            forget_at: Timestamp(u64::MAX >> 1),
        }),
    }
}

/// The groups of a run, each one commit.
fn run(from: u64, to: u64) -> Vec<Vec<Change>> {
    let requeued = |seq| Change::Requeued {
        seq: Seq(seq),
        attempts: 1,
        attempts_before: 0,
        failures: 0,
        not_before: None,
        expires_at: Timestamp(u64::MAX >> 1),
        cost: NanoDollars(1),
    };
    let mut groups = Vec::new();
    for seq in from..to {
        groups.push(vec![accepted(seq)]);
        match seq % 5 {
            0 => groups.push(vec![requeued(seq), ended(seq)]),
            1 => groups.push(vec![Change::Marked { seq: Seq(seq), losses: 0 }]),
            2 => groups.push(vec![ended(seq), Change::Time(Clock::resuming(None).mark())]),
            3 => groups.push(vec![ended(seq - 2), Change::Forgotten { seq: Seq(seq - 1) }]),
            // A client's retry takes an end back.
            _ => groups.push(vec![ended(seq), requeued(seq)]),
        }
    }
    groups
}

fn known(connection: &Connection) -> Known {
    let mut statement = connection
        .prepare("SELECT id, id_sync, text, job.attempts FROM job LEFT JOIN job_end USING (seq)")
        .unwrap();
    let rows = statement
        .query_map([], |row| Ok((JobId::from_parts(row.get(0)?, row.get(1)?), (row.get(2)?, row.get(3)?))));
    rows.unwrap().map(Result::unwrap).collect()
}

/// What the store finds in a directory, as the next platform reads it.
fn found(path: &Path) -> Known {
    let mut known = Known::new();
    let opened = schema::open(path, Durability::Process, |job| {
        let end = match job.end.map(|end| end.outcome) {
            Some(Outcome::Completed(output)) => Some(output.text().get().to_owned()),
            Some(outcome) => outcome.error().map(str::to_owned),
            None => None,
        };
        let attempts = if end.is_some() { 0 } else { job.record.attempts };
        assert!(known.insert(job.record.id, (end, attempts)).is_none(), "it is there once");
    })
    .unwrap();
    assert!(opened.damaged.is_empty());
    known
}

/// A job that has ended has the attempts of its end.
fn as_found(mut known: Known) -> Known {
    known.values_mut().filter(|(end, _)| end.is_some()).for_each(|(_, attempts)| *attempts = 0);
    known
}

fn assert_found(cut: &Cut, moments: &[Known]) {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("jobs.sqlite");
    cut.write(&path);
    let (found, expected) = (found(&path), &moments[cut.commits]);
    assert!(found == *expected, "{}: {} jobs, not {}", cut.what, found.len(), expected.len());
}

/// Commits these groups. Where each of them ends in the log, and what is known then.
fn commit(connection: &Connection, path: &Path, groups: &[Vec<Change>]) -> (Vec<usize>, Vec<Known>) {
    let (mut ends, mut moments) = (vec![32], vec![as_found(known(connection))]);
    for group in groups {
        writer::commit(connection, group).unwrap();
        ends.push(end_of(&std::fs::read(log_of(path)).unwrap()));
        moments.push(as_found(known(connection)));
    }
    assert!(ends.is_sorted_by(|one, other| one < other), "each commit writes something");
    (ends, moments)
}

fn checkpoint(connection: &Connection) {
    connection.query_row("PRAGMA wal_checkpoint(RESTART)", [], |_| Ok(())).unwrap();
}

#[test]
fn a_power_cut_leaves_exactly_the_commits_before_it() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("jobs.sqlite");
    let connection = schema::open(&path, Durability::PowerLoss, |_| ()).unwrap().connection;
    let files = || (std::fs::read(&path).unwrap(), std::fs::read(log_of(&path)).unwrap());
    checkpoint(&connection);
    let (before, old) = files();
    let (ends, moments) = commit(&connection, &path, &run(1, 11));
    let (_, log) = files();
    cuts(&before, &log, &old, &ends, |cut| assert_found(cut, &moments));

    // A checkpoint that breaks off, and what is written over the log after it.
    checkpoint(&connection);
    let (after, _) = files();
    checkpoints(&before, &after, &log, moments.len() - 1, |cut| assert_found(cut, &moments));
    let (ends, moments) = commit(&connection, &path, &run(20, 24));
    let (_, new) = files();
    cuts(&after, &new, &log, &ends, |cut| assert_found(cut, &moments));
}

#[test]
fn each_way_to_keep_jobs_asks_for_as_much_of_the_disk_as_it_promises() {
    for (durability, expected) in
        [(Durability::Process, 0), (Durability::Machine, 1), (Durability::PowerLoss, 2)]
    {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("jobs.sqlite");
        let connection = schema::open(&path, durability, |_| ()).unwrap().connection;
        let level: i64 = connection.query_row("PRAGMA synchronous", [], |row| row.get(0)).unwrap();
        let mode: String = connection.query_row("PRAGMA journal_mode", [], |row| row.get(0)).unwrap();
        assert_eq!((level, mode.as_str()), (expected, "wal"));
    }
}
