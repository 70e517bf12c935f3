//! What a power cut may leave of a SQLite database with a write-ahead log: cut, torn and reordered writes. For tests.
//!
//! The database file is only written to by a checkpoint, for which the log was synchronised before. So at any moment the
//! log holds, from its start, what is on the disk for certain, and behind it any part of what was written since.
use std::path::Path;

/// Of a frame of the log: its header and a page.
const FRAME: usize = 24 + PAGE;
const PAGE: usize = 4096;
const HEADER: usize = 32;

/// What may be left, and what is to be found in it.
pub struct Cut {
    /// The content of the database file.
    pub database: Vec<u8>,
    /// The content of its write-ahead log.
    pub log: Vec<u8>,
    /// So many of the commits, not one more or less.
    pub commits: usize,
    /// How it was cut, for the message of a failing test.
    pub what: String,
}

impl Cut {
    /// Puts the files where a database of this name is looked for.
    pub fn write(&self, database: &Path) {
        std::fs::write(database, &self.database).expect("a directory of the test");
        std::fs::write(log_of(database), &self.log).expect("a directory of the test");
    }
}

/// The file of the log.
pub fn log_of(database: &Path) -> std::path::PathBuf {
    let mut name = database.as_os_str().to_owned();
    name.push("-wal");
    name.into()
}

/// All cuts of a log in which the commits end at these places, `ends[0]` being no commit. `old` is what the file of the
/// log held before: a log that starts anew overwrites it.
pub fn cuts(database: &[u8], log: &[u8], old: &[u8], ends: &[usize], mut each: impl FnMut(&Cut)) {
    let last = *ends.last().expect("there is a commit");
    assert_eq!((last - HEADER) % FRAME, 0, "the log consists of frames");
    let mut add = |what: String, new: Vec<u8>| {
        // The first byte that is not as it was written decides.
        let whole = new.iter().zip(log).take_while(|(new, log)| new == log).count();
        let commits = ends.iter().filter(|end| **end <= whole.max(ends[0])).count() - 1;
        each(&Cut { database: database.to_vec(), log: new, commits, what });
    };
    let tail = |from: usize| old.get(from..).unwrap_or_default();
    for torn in [0, 1, HEADER / 2, HEADER - 1] {
        add(format!("{torn} bytes of the header"), [&log[..torn], tail(torn)].concat());
    }
    for start in (HEADER..last).step_by(FRAME) {
        add(format!("all before {start}"), [&log[..start], tail(start)].concat());
        for torn in [1, FRAME / 2, FRAME - 1] {
            let end = start + torn;
            add(format!("{torn} bytes of the frame at {start}"), [&log[..end], tail(end)].concat());
            let mut noisy = log.to_vec();
            noisy[end..start + FRAME].fill(0xa5);
            add(format!("noise after {torn} bytes of the frame at {start}"), noisy);
        }
        // Later frames are on the disk and this one is not.
        let mut hole = log.to_vec();
        hole[start..start + FRAME].fill(0);
        add(format!("a hole at {start}"), hole);
        if start + 2 * FRAME <= last {
            let mut swapped = log.to_vec();
            swapped.copy_within(start + FRAME..start + 2 * FRAME, start);
            add(format!("the frame after {start} in its place too"), swapped);
        }
    }
    add("all of it".to_owned(), [&log[..last], tail(last)].concat());
}

/// Where the last commit of a log ends.
pub fn end_of(log: &[u8]) -> usize {
    // Frames of an older log have another salt.
    let salt = &log[16..24];
    let is_own = |frame: &usize| {
        let start = HEADER + frame * FRAME + 8;
        log.get(start..start + 8) == Some(salt)
    };
    HEADER + FRAME * (0..).take_while(is_own).count()
}

/// What may be left in the midst of a checkpoint: some pages of the file are written, some torn; the log has all.
pub fn checkpoints(before: &[u8], after: &[u8], log: &[u8], commits: usize, each: impl FnMut(&Cut)) {
    let pages = after.len().div_ceil(PAGE);
    let mixed = |round: usize| {
        let mut database = before.to_vec();
        database.resize(after.len(), 0);
        for page in 0..pages {
            // A few of the many ways, the same each time.
            let dice = (page * 7 + round * 13 + page * round) % 5;
            let (start, end) = (page * PAGE, ((page + 1) * PAGE).min(after.len()));
            let written = match dice {
                0 | 1 => end,
                2 => start + (end - start) / 2,
                _ => start,
            };
            database[start..written].copy_from_slice(&after[start..written]);
        }
        let what = format!("a checkpoint that broke off, {round}");
        Cut { database, log: log.to_vec(), commits, what }
    };
    (0..20).map(mixed).collect::<Vec<_>>().iter().for_each(each);
}
