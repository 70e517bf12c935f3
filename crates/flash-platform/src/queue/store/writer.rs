//! The writer thread.
use std::time::Duration;

use flash_protocol::catalogue::NanoDollars;
use rusqlite::{Connection, OptionalExtension as _, params};

use super::{
    super::{
        clock::Mark,
        ticket::{Seq, Ticket},
    },
    record::{Change, Damaged, End, Record, StoredSchedule},
    schema::{StoredExtras, outcome_columns, text_of},
    shared::{Failing, Progress, Shared},
};

/// Between two tries to write after a failure, such as a full disk.
const RETRY: Duration = Duration::from_millis(500);

/// Commits groups of changes until the store is closed and nothing is left.
pub(super) fn run(connection: &Connection, shared: &Shared) {
    let mut group = Vec::new();
    let mut upto = Ticket::default();
    loop {
        let closed = {
            let mut pending = shared.lock();
            while group.is_empty() && pending.changes.is_empty() && !pending.closed {
                shared.wake.wait(&mut pending);
            }
            // After a failure: the changes that came since follow those that are tried again.
            group.append(&mut pending.changes);
            upto = upto.max(pending.last);
            pending.closed
        };
        if group.is_empty() {
            return;
        }
        match commit(connection, &group) {
            Ok(()) => {
                group.clear();
                shared.progress.send_replace(Progress { committed: upto, failing: None });
            }
            Err(error) => {
                let failing = Some(Failing(error.to_string().into()));
                shared.progress.send_modify(|progress| progress.failing = failing);
                if closed {
                    // These were not promised to anyone, and waiting for the disk would delay the end of the
                    // platform.
                    return;
                }
                std::thread::sleep(RETRY);
            }
        }
    }
}

/// Makes all changes of a group durable, according to the store's setting, or none of them.
pub(super) fn commit(connection: &Connection, group: &[Change]) -> rusqlite::Result<()> {
    let transaction = connection.unchecked_transaction()?;
    for change in group {
        write(&transaction, change)?;
    }
    transaction.commit()
}

fn write(connection: &Connection, change: &Change) -> rusqlite::Result<()> {
    match change {
        Change::Accepted(record) => insert(connection, record),
        Change::Requeued { seq, attempts, attempts_before, failures, not_before, expires_at, cost } => {
            let update = "UPDATE job SET attempts = ?2, attempts_before = ?3, expires_us = ?4, cost = ?5,
                                         failures = ?6, not_before_us = ?7
                          WHERE seq = ?1";
            let not_before = not_before.map(|time| time.0);
            let row =
                params![seq.0, attempts, attempts_before, expires_at.0, amount(*cost), failures, not_before];
            connection.prepare_cached(update)?.execute(row)?;
            connection.prepare_cached("DELETE FROM job_end WHERE seq = ?1")?.execute([seq.0]).map(drop)
        }
        Change::Ended { seq, end } => insert_end(connection, *seq, end),
        Change::Charged { seq, cost } => {
            let update = "UPDATE job SET cost = ?2 WHERE seq = ?1";
            connection.prepare_cached(update)?.execute(params![seq.0, amount(*cost)]).map(drop)
        }
        Change::Moved { seq, release } => {
            let update = "UPDATE job SET release = ?2 WHERE seq = ?1";
            connection.prepare_cached(update)?.execute(params![seq.0, release]).map(drop)
        }
        Change::Delivered { seq } => {
            let update = "UPDATE job_end SET told = 1 WHERE seq = ?1";
            connection.prepare_cached(update)?.execute([seq.0]).map(drop)
        }
        Change::Forgotten { seq } => {
            connection.prepare_cached("DELETE FROM job_end WHERE seq = ?1")?.execute([seq.0])?;
            connection.prepare_cached("DELETE FROM aboard WHERE seq = ?1")?.execute([seq.0])?;
            connection.prepare_cached("DELETE FROM job WHERE seq = ?1")?.execute([seq.0]).map(drop)
        }
        Change::Marked { seq, losses } => {
            let mark = "INSERT OR REPLACE INTO aboard VALUES (?1, ?2, 1)";
            connection.prepare_cached(mark)?.execute(params![seq.0, losses]).map(drop)
        }
        Change::Cleared { seq } => {
            connection.prepare_cached("DELETE FROM aboard WHERE seq = ?1")?.execute([seq.0]).map(drop)
        }
        Change::SetAside(Damaged { seq, problem, rows }) => {
            connection.execute(
                "INSERT OR REPLACE INTO damaged VALUES (?1, ?2, ?3)",
                params![seq.0, problem, rows],
            )?;
            write(connection, &Change::Forgotten { seq: *seq })
        }
        Change::Schedule(StoredSchedule { function, state }) => connection
            .prepare_cached("INSERT OR REPLACE INTO schedule VALUES (?1, ?2)")?
            .execute(params![function, state])
            .map(drop),
        Change::Opened(mark) => {
            // Jobs that ran when the last platform died were counted when they were read.
            let last = "SELECT is_open FROM life";
            let was_open = connection.query_row(last, [], |row| Ok(row.get(0).unwrap_or(true))).optional()?;
            if was_open.unwrap_or(false) {
                connection.execute("UPDATE aboard SET losses = losses + 1 WHERE is_aboard = 1", [])?;
            }
            connection.execute("UPDATE aboard SET is_aboard = 0 WHERE is_aboard = 1", [])?;
            write_mark(connection, mark)
        }
        Change::Time(mark) => write_mark(connection, mark),
        Change::Closed => connection.execute("UPDATE life SET is_open = 0", []).map(drop),
    }
}

fn write_mark(connection: &Connection, Mark { queue, reading }: &Mark) -> rusqlite::Result<()> {
    let uptime = reading.uptime.as_ref();
    connection
        .prepare_cached("INSERT OR REPLACE INTO life VALUES (1, 1, ?1, ?2, ?3, ?4)")?
        .execute(params![
            whole(queue.0.into()),
            whole(reading.wall.into()),
            uptime.map(|uptime| &uptime.boot),
            uptime.map(|uptime| whole(uptime.since.into())),
        ])
        .map(drop)
}

/// SQLite's integers are signed. A number out of range would fail the whole group.
fn whole(number: u128) -> u64 {
    u64::try_from(number.min(u128::from(u64::MAX >> 1))).unwrap_or(u64::MAX >> 1)
}

/// SQLite's integers are signed; they hold up to nine billion dollars.
fn amount(cost: NanoDollars) -> u64 {
    cost.0.min(u64::MAX >> 1)
}

fn insert(connection: &Connection, record: &Record) -> rusqlite::Result<()> {
    let Record { seq, endpoint, id, sync_origin, submitted_at, expires_at, .. } = record;
    let (id, id_sync) = id.to_parts();
    let json = |error: serde_json::Error| rusqlite::Error::ToSqlConversionFailure(error.into());
    let envelope = serde_json::to_string(&record.envelope).map_err(json)?;
    let extras = record.extras.as_ref().map(|extras| serde_json::to_string(&StoredExtras::from(extras)));
    let extras = extras.transpose().map_err(json)?;
    let millis = |time: Duration| whole(time.as_millis());
    connection
        .prepare_cached(
            "INSERT INTO job VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18,
                                     ?19)",
        )?
        .execute(params![
            seq.0,
            endpoint,
            id,
            id_sync,
            sync_origin,
            submitted_at.0,
            expires_at.0,
            millis(record.execution_timeout),
            record.low_priority,
            record.attempts,
            record.attempts_before,
            amount(record.cost),
            envelope,
            extras,
            text_of(&record.input),
            millis(record.ttl),
            whole(record.release.into()),
            record.failures,
            record.not_before.map(|time| whole(time.0.into())),
        ])
        .map(drop)
}

fn insert_end(connection: &Connection, seq: Seq, end: &End) -> rusqlite::Result<()> {
    let (outcome, text) = outcome_columns(&end.outcome);
    let micros = |time: Duration| whole(time.as_micros());
    connection
        .prepare_cached("INSERT OR REPLACE INTO job_end VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, 0)")?
        .execute(params![
            seq.0,
            outcome,
            text,
            end.worker,
            end.attempts,
            micros(end.delay),
            micros(end.ran),
            amount(end.cost),
            end.forget_at.0,
        ])
        .map(drop)
}
