//! The buffer between code that logs and the thread that writes, and what readers may rely on.
//!
//! Logging a line costs serialisation, one lock and a copy. The writer takes all waiting lines at once and leaves an
//! empty buffer. If the buffer is full, the caller waits, unless it is on a thread of the async runtime, where other
//! tasks would wait too. If the disk accepts nothing, lines are lost and counted, and the log reports it later.
use std::{
    cell::RefCell,
    time::{Duration, Instant},
};

use parking_lot::{Condvar, Mutex, MutexGuard};
use tokio::runtime::Handle as Runtime;

use super::{line::LogLine, record::Record, segment::Position};

/// How long a caller waits for a slow writer.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long a query waits for lines that were logged before it.
const SETTLING: Duration = Duration::from_secs(1);
/// The part of `LogLimits::waiting_bytes` that is added for callers that cannot wait: the platform logs little, and
/// its lines are worth more than one more line of a worker.
const RESERVE: usize = 32;
/// A thread keeps no larger buffer for its lines.
const KEPT_CAPACITY: usize = 1 << 20;

/// The state shared by callers, the writer and readers.
pub(super) struct LineBuffer {
    limit: usize,
    waiting: Mutex<Waiting>,
    /// Lines came, or the end.
    filled: Condvar,
    /// The buffer was taken, or the disk failed.
    taken: Condvar,
    written: Mutex<Written>,
    /// More is written, or nothing can be.
    moved: Condvar,
}

/// Lines that are not with the writer yet.
#[derive(Default)]
struct Waiting {
    lines: Vec<u8>,
    /// Bytes of lines so far, lost ones not counted.
    accepted: u64,
    disk: Disk,
    /// Since the buffer was last taken.
    lost: u64,
    writer_sleeps: bool,
    closed: bool,
}

impl Waiting {
    /// One line always has room, however long it is.
    fn has_room(&self, line: &[u8], limit: usize) -> bool {
        self.lines.is_empty() || self.lines.len() + line.len() <= limit
    }
}

/// Whether waiting for the disk makes sense.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
enum Disk {
    #[default]
    Writes,
    Fails(String),
}

/// What readers may rely on.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Written {
    /// The end of the last complete line.
    pub end: Position,
    /// See [`Waiting::accepted`].
    bytes: u64,
    failing: bool,
    /// Nothing will follow.
    pub closed: bool,
}

/// The lines that the writer takes at once.
pub(super) struct Taken {
    /// [`Waiting::accepted`] at that time.
    pub accepted: u64,
    /// Lines that were lost after these, and why.
    pub lost: Option<(u64, String)>,
}

impl LineBuffer {
    /// An empty one, for this many bytes of waiting lines.
    pub(super) fn new(limit: usize) -> Self {
        Self {
            limit,
            waiting: Mutex::default(),
            filled: Condvar::new(),
            taken: Condvar::new(),
            written: Mutex::default(),
            moved: Condvar::new(),
        }
    }

    /// Takes no more lines: the writer writes the waiting ones and ends.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.filled.notify_all();
        self.taken.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock()
    }

    fn lock_written(&self) -> MutexGuard<'_, Written> {
        self.written.lock()
    }

    /// Takes a line. See the module.
    pub(super) fn say(&self, line: &LogLine) {
        thread_local! {
            static LINE: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
        }
        LINE.with_borrow_mut(|bytes| {
            Record::of(line).write(bytes);
            self.accept(bytes);
            bytes.clear();
            bytes.shrink_to(KEPT_CAPACITY);
        });
    }

    fn accept(&self, line: &[u8]) {
        let may_wait = Runtime::try_current().is_err();
        let limit = if may_wait { self.limit } else { self.limit + self.limit / RESERVE };
        let mut waiting = self.lock();
        if may_wait && !waiting.has_room(line, limit) {
            waiting = self.wait_for_room(waiting, line);
        }
        if waiting.closed {
            return;
        }
        // Once a line is lost, all are lost until the buffer is taken, so that the log reports the number in one
        // place.
        if waiting.lost > 0 || !waiting.has_room(line, limit) {
            waiting.lost += 1;
            if waiting.disk == Disk::Writes {
                waiting.disk = Disk::Fails("the disk cannot keep up".to_owned());
            }
            return;
        }
        waiting.lines.extend_from_slice(line);
        waiting.accepted += line.len() as u64;
        let wake = std::mem::take(&mut waiting.writer_sleeps);
        drop(waiting);
        if wake {
            self.filled.notify_one();
        }
    }

    fn wait_for_room<'a>(
        &self,
        mut waiting: MutexGuard<'a, Waiting>,
        line: &[u8],
    ) -> MutexGuard<'a, Waiting> {
        let until = Instant::now() + PATIENCE;
        while !waiting.has_room(line, self.limit)
            && !waiting.closed
            && waiting.disk == Disk::Writes
            && waiting.lost == 0
        {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                // Others do not wait until it continues.
                waiting.disk = Disk::Fails("the disk is too slow".to_owned());
                break;
            }
            self.taken.wait_for(&mut waiting, left);
        }
        waiting
    }

    /// For the writer: waits for lines up to `limit`, and takes all. `None` if no more lines will arrive; no lines if
    /// the wait timed out.
    pub(super) fn take(&self, into: &mut Vec<u8>, limit: Duration) -> Option<Taken> {
        let mut waiting = self.lock();
        if waiting.lines.is_empty() && waiting.lost == 0 && !waiting.closed {
            waiting.writer_sleeps = true;
            let woken =
                |waiting: &mut Waiting| waiting.lines.is_empty() && waiting.lost == 0 && !waiting.closed;
            self.filled.wait_while_for(&mut waiting, woken, limit);
            waiting.writer_sleeps = false;
        }
        if waiting.closed && waiting.lines.is_empty() && waiting.lost == 0 {
            return None;
        }
        std::mem::swap(&mut waiting.lines, into);
        let cause = match std::mem::take(&mut waiting.disk) {
            Disk::Fails(cause) => cause,
            Disk::Writes => String::new(),
        };
        let lost = std::mem::take(&mut waiting.lost);
        let taken = Taken { accepted: waiting.accepted, lost: (lost > 0).then_some((lost, cause)) };
        drop(waiting);
        self.taken.notify_all();
        Some(taken)
    }

    /// For the writer after a disk error: waits before the next attempt; `false` if there is no time for one.
    pub(super) fn failed(&self, cause: &str, pause: Duration) -> bool {
        {
            let mut written = self.lock_written();
            written.failing = true;
            self.moved.notify_all();
        }
        let mut waiting = self.lock();
        waiting.disk = Disk::Fails(cause.to_owned());
        self.taken.notify_all();
        let open = |waiting: &mut Waiting| !waiting.closed;
        self.filled.wait_while_for(&mut waiting, open, pause);
        !waiting.closed
    }

    /// For the writer: lines end here now.
    pub(super) fn moved(&self, end: Position) {
        let mut written = self.lock_written();
        written.end = end;
        written.failing = false;
        drop(written);
        self.moved.notify_all();
    }

    /// For the writer: all that was taken is written, or given up.
    pub(super) fn settled(&self, accepted: u64) {
        self.lock_written().bytes = accepted;
        self.moved.notify_all();
    }

    /// For the writer: nothing will follow.
    pub(super) fn ended(&self) {
        self.lock_written().closed = true;
        self.moved.notify_all();
    }

    /// For readers: waits until earlier lines are written, for a limited time.
    pub(super) fn settle(&self) -> Written {
        let said = self.lock().accepted;
        let open = |written: &mut Written| written.bytes < said && !written.failing && !written.closed;
        let mut written = self.lock_written();
        self.moved.wait_while_for(&mut written, open, SETTLING);
        *written
    }

    /// For readers: waits up to `limit` for lines after this position.
    pub(super) fn wait_beyond(&self, read: Position, limit: Duration) -> Written {
        let nothing_new = |written: &mut Written| written.end <= read && !written.closed;
        let mut written = self.lock_written();
        self.moved.wait_while_for(&mut written, nothing_new, limit);
        *written
    }
}
