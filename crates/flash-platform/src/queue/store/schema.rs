//! The tables, how a row becomes a job, and opening a file.
use std::{borrow::Cow, path::Path, time::Duration};

use flash_protocol::{
    catalogue::NanoDollars,
    wire::{Payload, RawJson, envelope::Envelope},
};
use rusqlite::{Connection, ErrorCode, OptionalExtension as _, Row, types::ValueRef};
use serde::{Deserialize, Serialize};

use super::{
    super::{
        clock::{Mark, Reading, Timestamp, Uptime},
        extras::{Extras, IdempotencyKey},
        id::JobId,
        state::Outcome,
        ticket::Seq,
    },
    open_error::{Durability, OpenError},
    record::{Damaged, End, Found, Record, StoredSchedule},
};

/// Of the tables below. A file with a lower one is brought up by [`UPGRADES`].
pub(super) const VERSION: i64 = 5;

/// The migrations from version 1 to 2, from 2 to 3, and so on.
const UPGRADES: [&str; 4] = [
    "ALTER TABLE job ADD COLUMN release INTEGER NOT NULL DEFAULT 0;",
    TABLES_OF_3,
    "ALTER TABLE job ADD COLUMN failures INTEGER NOT NULL DEFAULT 0;
     ALTER TABLE job ADD COLUMN not_before_us INTEGER;",
    TABLES_OF_5,
];

/// Since version 5. `state` is JSON that the schedules own.
const TABLES_OF_5: &str = "
    CREATE TABLE schedule (
        function TEXT PRIMARY KEY,
        state TEXT NOT NULL
    );
";

/// Since version 3.
///
/// `aboard`: jobs that the platform may have died of. `losses` of it are certain; `is_aboard` while a worker may have
/// it. `life`: one row, of the platform that has the file. `damaged`: rows that could not be read, as JSON.
const TABLES_OF_3: &str = "
    CREATE TABLE aboard (
        seq INTEGER PRIMARY KEY,
        losses INTEGER NOT NULL,
        is_aboard INTEGER NOT NULL
    );
    CREATE TABLE life (
        id INTEGER PRIMARY KEY CHECK (id = 1),
        is_open INTEGER NOT NULL,
        queue_us INTEGER NOT NULL,
        wall_us INTEGER NOT NULL,
        boot TEXT,
        uptime_us INTEGER
    );
    CREATE TABLE damaged (
        seq INTEGER PRIMARY KEY,
        problem TEXT NOT NULL,
        rows TEXT NOT NULL
    );
";

/// Only attempts, times and release of a job's row change. Its end is a separate row, so that the input is not written
/// twice.
const TABLES: &str = "
    CREATE TABLE job (
        seq INTEGER PRIMARY KEY,
        endpoint TEXT NOT NULL,
        id BLOB NOT NULL,
        id_sync INTEGER NOT NULL,
        sync_origin INTEGER NOT NULL,
        submitted_us INTEGER NOT NULL,
        expires_us INTEGER NOT NULL,
        execution_timeout_ms INTEGER NOT NULL,
        low_priority INTEGER NOT NULL,
        attempts INTEGER NOT NULL,
        attempts_before INTEGER NOT NULL,
        cost INTEGER NOT NULL,
        envelope TEXT NOT NULL,
        extras TEXT,
        input TEXT NOT NULL,
        ttl_ms INTEGER NOT NULL,
        release INTEGER NOT NULL DEFAULT 0,
        failures INTEGER NOT NULL DEFAULT 0,
        not_before_us INTEGER
    );
    CREATE TABLE job_end (
        seq INTEGER PRIMARY KEY,
        outcome INTEGER NOT NULL,
        text TEXT NOT NULL,
        worker TEXT,
        attempts INTEGER NOT NULL,
        delay_us INTEGER NOT NULL,
        ran_us INTEGER NOT NULL,
        cost INTEGER NOT NULL,
        forget_us INTEGER NOT NULL,
        told INTEGER NOT NULL DEFAULT 0
    );
";

/// An open file, all of which has been read.
pub(super) struct Opened {
    pub connection: Connection,
    /// The greatest place in it.
    pub last: u64,
    /// The time stored by the last platform.
    pub mark: Option<Mark>,
    /// Rows to set aside, the first one first.
    pub damaged: Vec<Damaged>,
    /// How many were set aside before.
    pub set_aside: usize,
    pub schedules: Vec<StoredSchedule>,
}

/// How the platform ended that had the file before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LastEnd {
    /// By itself, or there was none.
    Clean,
    /// It was killed, or lost power.
    Unclean,
}

/// Opens and reads the file. Changes nothing in one of this version.
pub(super) fn open(
    path: &Path,
    durability: Durability,
    found: impl FnMut(Found),
) -> Result<Opened, OpenError> {
    let problem = |source: rusqlite::Error| match source.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            OpenError::InUse { path: path.to_owned() }
        }
        _ => OpenError::Unreadable { path: path.to_owned(), source },
    };
    let connection = Connection::open(path).map_err(problem)?;
    let synchronous = match durability {
        Durability::Process => "OFF",
        Durability::Machine => "NORMAL",
        Durability::PowerLoss => "FULL",
    };
    // Exclusive: a second platform on the same store is refused, and no shared memory file is needed.
    let settings = format!(
        "PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = WAL; PRAGMA synchronous = {synchronous}; \
         PRAGMA wal_autocheckpoint = 8000; PRAGMA cache_size = -8000;"
    );
    connection.execute_batch(&settings).map_err(problem)?;
    let version: i64 = connection.query_row("PRAGMA user_version", [], |row| row.get(0)).map_err(problem)?;
    match version {
        0 => {
            let create = format!(
                "BEGIN IMMEDIATE; {TABLES} {TABLES_OF_3} {TABLES_OF_5} PRAGMA user_version = {VERSION}; COMMIT;"
            );
            connection.execute_batch(&create).map_err(problem)?;
        }
        VERSION => {}
        1..VERSION => {
            let first = usize::try_from(version - 1).unwrap_or_default();
            let upgrades = UPGRADES[first..].concat();
            let upgrade = format!("BEGIN IMMEDIATE; {upgrades} PRAGMA user_version = {VERSION}; COMMIT;");
            connection.execute_batch(&upgrade).map_err(problem)?;
        }
        found => return Err(OpenError::Newer { path: path.to_owned(), found, supported: VERSION }),
    }
    let (last_end, mark) = life(&connection).map_err(problem)?;
    let (last, damaged) = read(&connection, last_end, found).map_err(problem)?;
    if !damaged.is_empty() {
        check(&connection).map_err(problem)?;
    }
    let set_aside =
        connection.query_row("SELECT count(*) FROM damaged", [], |row| row.get(0)).map_err(problem)?;
    let schedules = schedules(&connection).map_err(problem)?;
    Ok(Opened { connection, last, mark, damaged, set_aside, schedules })
}

fn schedules(connection: &Connection) -> rusqlite::Result<Vec<StoredSchedule>> {
    let mut statement = connection.prepare("SELECT function, state FROM schedule")?;
    let rows =
        statement.query_map([], |row| Ok(StoredSchedule { function: row.get(0)?, state: row.get(1)? }))?;
    rows.collect()
}

/// A single invalid row may be the only one. If the file itself is damaged, nothing in it is trusted.
fn check(connection: &Connection) -> rusqlite::Result<()> {
    let verdict: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    if verdict == "ok" {
        return Ok(());
    }
    let code = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CORRUPT);
    Err(rusqlite::Error::SqliteFailure(code, Some(verdict)))
}

/// How the last platform ended, and when it last stored the time. An unreadable row counts as an unclean end.
fn life(connection: &Connection) -> rusqlite::Result<(LastEnd, Option<Mark>)> {
    let mut statement = connection.prepare("SELECT is_open, queue_us, wall_us, boot, uptime_us FROM life")?;
    let mut rows = statement.query([])?;
    let Some(row) = rows.next()? else { return Ok((LastEnd::Clean, None)) };
    let mark = || -> rusqlite::Result<Mark> {
        let boot = row.get::<_, Option<String>>(3)?.zip(row.get(4)?);
        let reading = Reading { wall: row.get(2)?, uptime: boot.map(|(boot, since)| Uptime { boot, since }) };
        Ok(Mark { queue: Timestamp(row.get(1)?), reading })
    };
    let last_end = if row.get(0).unwrap_or(true) { LastEnd::Unclean } else { LastEnd::Clean };
    Ok((last_end, mark().ok()))
}

fn read(
    connection: &Connection,
    last_end: LastEnd,
    mut found: impl FnMut(Found),
) -> rusqlite::Result<(u64, Vec<Damaged>)> {
    let (mut last, mut damaged) = (0, Vec::new());
    let mut statement = connection.prepare(
        "SELECT job.seq, endpoint, id, id_sync, sync_origin, submitted_us, expires_us,
                execution_timeout_ms, low_priority, job.attempts, attempts_before, envelope, extras,
                input, outcome, text, worker, job_end.attempts, delay_us, ran_us, forget_us, told,
                ttl_ms, job.cost, job_end.cost, release, losses, is_aboard,
                failures, not_before_us
         FROM job LEFT JOIN job_end USING (seq) LEFT JOIN aboard USING (seq) ORDER BY job.seq",
    )?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        last = row.get(0)?;
        match found_in(row, last_end) {
            Ok(job) => found(job),
            // Both its rows: one whose end cannot be read must not run again.
            Err(problem) => damaged.push(Damaged {
                seq: Seq(last),
                problem: problem.to_string(),
                rows: dump(connection, last)?,
            }),
        }
    }
    Ok((last, damaged))
}

fn found_in(row: &Row<'_>, last_end: LastEnd) -> Result<Found, Damage> {
    let (record, end) = (record_of(row)?, end_of(row)?);
    let delivered = row.get::<_, Option<bool>>(21)?.unwrap_or(false);
    let after_unclean_end = last_end == LastEnd::Unclean;
    let was_aboard = after_unclean_end && row.get::<_, Option<bool>>(27)?.unwrap_or(false);
    let losses = row.get::<_, Option<u32>>(26)?.unwrap_or(0).saturating_add(u32::from(was_aboard));
    Ok(Found { record, end, delivered, losses, after_unclean_end })
}

/// All that is stored of a job, whatever it is.
fn dump(connection: &Connection, seq: u64) -> rusqlite::Result<String> {
    let mut rows = serde_json::Map::new();
    for table in ["job", "job_end", "aboard"] {
        let mut statement = connection.prepare(&format!("SELECT * FROM {table} WHERE seq = ?"))?;
        let names: Vec<String> = statement.column_names().map(str::to_owned).collect();
        let row = statement.query_row([seq], |row| {
            let column = |(place, name): (usize, &String)| -> rusqlite::Result<_> {
                Ok((name.clone(), plain(row.get_ref(place)?)))
            };
            names.iter().enumerate().map(column).collect::<rusqlite::Result<serde_json::Map<_, _>>>()
        });
        if let Some(row) = row.optional()? {
            rows.insert(table.to_owned(), row.into());
        }
    }
    Ok(serde_json::Value::from(rows).to_string())
}

/// Bytes are written in hexadecimal.
fn plain(value: ValueRef<'_>) -> serde_json::Value {
    match value {
        ValueRef::Null => serde_json::Value::Null,
        ValueRef::Integer(number) => number.into(),
        ValueRef::Real(number) => number.into(),
        ValueRef::Text(text) => String::from_utf8_lossy(text).into_owned().into(),
        ValueRef::Blob(bytes) => bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>().into(),
    }
}

#[derive(Debug, thiserror::Error)]
enum Damage {
    #[error(transparent)]
    Row(#[from] rusqlite::Error),
    #[error(transparent)]
    Json(#[from] serde_json::Error),
    #[error("{0} is not an outcome")]
    Outcome(i64),
}

fn record_of(row: &Row<'_>) -> Result<Record, Damage> {
    let extras: Option<String> = row.get(12)?;
    Ok(Record {
        seq: Seq(row.get(0)?),
        endpoint: row.get_ref(1)?.as_str().map_err(rusqlite::Error::from)?.into(),
        id: JobId::from_parts(row.get(2)?, row.get(3)?),
        sync_origin: row.get(4)?,
        submitted_at: Timestamp(row.get(5)?),
        expires_at: Timestamp(row.get(6)?),
        execution_timeout: Duration::from_millis(row.get(7)?),
        ttl: Duration::from_millis(row.get(22)?),
        low_priority: row.get(8)?,
        attempts: row.get(9)?,
        attempts_before: row.get(10)?,
        cost: NanoDollars(row.get(23)?),
        release: row.get(25)?,
        failures: row.get(28)?,
        not_before: row.get::<_, Option<u64>>(29)?.map(Timestamp),
        envelope: serde_json::from_str::<Envelope>(
            row.get_ref(11)?.as_str().map_err(rusqlite::Error::from)?,
        )?,
        extras: extras.map(|text| serde_json::from_str::<StoredExtras>(&text)).transpose()?.map(Extras::from),
        input: raw(row.get(13)?)?.into(),
    })
}

fn end_of(row: &Row<'_>) -> Result<Option<End>, Damage> {
    let Some(kind) = row.get::<_, Option<i64>>(14)? else { return Ok(None) };
    let text: String = row.get(15)?;
    let outcome = match kind {
        0 => Outcome::Completed(raw(text)?.into()),
        1 => Outcome::Failed(text),
        2 => Outcome::Cancelled,
        3 => Outcome::TimedOut(text),
        4 => Outcome::Dead(text),
        5 => {
            let (error, output) = serde_json::from_str(&text)?;
            Outcome::FailedWith(error, output)
        }
        unknown => return Err(Damage::Outcome(unknown)),
    };
    Ok(Some(End {
        outcome,
        worker: row.get::<_, Option<String>>(16)?.map(Into::into),
        attempts: row.get(17)?,
        delay: Duration::from_micros(row.get(18)?),
        ran: Duration::from_micros(row.get(19)?),
        forget_at: Timestamp(row.get(20)?),
        cost: NanoDollars(row.get(24)?),
    }))
}

/// The reverse of what [`end_of`] reads.
pub(super) fn outcome_columns(outcome: &Outcome) -> (i64, Cow<'_, str>) {
    match outcome {
        Outcome::Completed(output) => (0, text_of(output)),
        Outcome::Failed(text) => (1, text.into()),
        Outcome::Cancelled => (2, "".into()),
        Outcome::TimedOut(text) => (3, text.into()),
        Outcome::Dead(text) => (4, text.into()),
        Outcome::FailedWith(error, output) => {
            let both = serde_json::to_string(&(error, output)).expect("text and JSON always serialise");
            (5, both.into())
        }
    }
}

/// The text to store.
pub(super) fn text_of(payload: &Payload) -> Cow<'_, str> {
    match payload.to_json() {
        Cow::Borrowed(json) => json.get().into(),
        Cow::Owned(json) => Box::<str>::from(json).into_string().into(),
    }
}

/// Was JSON when it was written, which the store's own checks of pages guard.
fn raw(text: String) -> Result<RawJson, serde_json::Error> {
    serde_json::value::RawValue::from_string(text)
}

/// [`Extras`] as a column.
#[derive(Serialize, Deserialize)]
pub(super) struct StoredExtras {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    webhook: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    key: Option<(Box<str>, u64)>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    s3: Option<String>,
}

impl From<StoredExtras> for Extras {
    fn from(StoredExtras { webhook, key, s3 }: StoredExtras) -> Self {
        let idempotency = key.map(|(key, fingerprint)| IdempotencyKey { key, fingerprint });
        Self { webhook, idempotency, s3_config: s3 }
    }
}

impl From<&Extras> for StoredExtras {
    fn from(extras: &Extras) -> Self {
        let key = extras.idempotency.as_ref().map(|key| (key.key.clone(), key.fingerprint));
        Self { webhook: extras.webhook.clone(), key, s3: extras.s3_config.clone() }
    }
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    /// The tables as version 1 had them, with a job that waits and one that has ended.
    const VERSION_1: &str = "
        CREATE TABLE job (
            seq INTEGER PRIMARY KEY, endpoint TEXT NOT NULL, id BLOB NOT NULL, id_sync INTEGER NOT NULL,
            sync_origin INTEGER NOT NULL, submitted_us INTEGER NOT NULL, expires_us INTEGER NOT NULL,
            execution_timeout_ms INTEGER NOT NULL, low_priority INTEGER NOT NULL, attempts INTEGER NOT NULL,
            attempts_before INTEGER NOT NULL, cost INTEGER NOT NULL, envelope TEXT NOT NULL, extras TEXT,
            input TEXT NOT NULL, ttl_ms INTEGER NOT NULL
        );
        CREATE TABLE job_end (
            seq INTEGER PRIMARY KEY, outcome INTEGER NOT NULL, text TEXT NOT NULL, worker TEXT,
            attempts INTEGER NOT NULL, delay_us INTEGER NOT NULL, ran_us INTEGER NOT NULL,
            cost INTEGER NOT NULL, forget_us INTEGER NOT NULL, told INTEGER NOT NULL DEFAULT 0
        );
        INSERT INTO job VALUES (3, 'gpu', x'0190b6c0d2f07c0a8000000000000001', 0, 0, 1, 99, 600000, 0, 1, 0, 5,
                                '{}', NULL, '{\"a\":1}', 7000);
        INSERT INTO job VALUES (4, 'gpu', x'0190b6c0d2f07c0a8000000000000002', 0, 0, 1, 99, 600000, 0, 1, 0, 5,
                                '{}', NULL, 'null', 7000);
        INSERT INTO job_end VALUES (4, 0, '7', 'w', 1, 2, 3, 6, 99, 1);
        PRAGMA user_version = 1;
    ";

    fn read_all(path: &Path) -> (Connection, Vec<Found>) {
        let mut all = Vec::new();
        let opened = open(path, Durability::Process, |job| all.push(job)).unwrap();
        assert_eq!((opened.last, opened.mark), (4, None));
        (opened.connection, all)
    }

    #[test]
    fn a_file_of_version_1_is_brought_up_with_its_jobs_and_stays_so() {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("jobs.sqlite");
        Connection::open(&path).unwrap().execute_batch(VERSION_1).unwrap();
        for _ in 0..2 {
            let (connection, all) = read_all(&path);
            let version: i64 = connection.query_row("PRAGMA user_version", [], |row| row.get(0)).unwrap();
            assert_eq!(version, VERSION);
            let found: Vec<_> = all.iter().map(|job| (job.record.release, job.end.is_some())).collect();
            assert_eq!(found, [(0, false), (0, true)], "nobody knows of which release they are");
            assert_eq!((all[0].record.input.text().get(), &*all[0].record.endpoint), ("{\"a\":1}", "gpu"));
        }
    }

    #[test]
    fn a_file_of_a_newer_version_is_refused_and_left_alone() {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("jobs.sqlite");
        let newer = format!("PRAGMA user_version = {}", VERSION + 1);
        Connection::open(&path).unwrap().execute_batch(&newer).unwrap();
        let refused = open(&path, Durability::Process, |_| ());
        assert!(matches!(refused, Err(OpenError::Newer { found, .. }) if found == VERSION + 1));
    }
}
