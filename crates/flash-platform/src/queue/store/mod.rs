//! The durable store of the queues: SQLite, one writer, group commits.
//!
//! It manages the file and its schema. While a platform runs, the queues in memory hold the current state; the store
//! is what the next platform starts from. A change gets a ticket at once and is durable when [`Store::committed`]
//! returns. Code that promises something to a client waits for that first. Changes are committed in ticket order, so
//! the durable state is always a past state.
#[cfg(test)]
mod power_loss;
mod record;
mod schema;
mod writer;

use std::{
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use parking_lot::{Condvar, Mutex, MutexGuard};
use tokio::sync::watch;

use super::{
    clock::Clock,
    keys::{KeyTables, Keys},
};
use record::Damaged;
pub(super) use record::{Change, End, Record, Stored};

/// A job's place in the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Seq(pub(super) u64);

/// A change's place in the order of changes. The default one is older than all.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Ticket(u64);

/// Which failures a committed job survives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// Any end of the platform, but not of the machine.
    Process,
    /// Like `Process`; after a power loss, the last changes may be missing, but the rest is complete.
    Machine,
    /// A power loss: each group of changes is on disk before its clients are answered.
    PowerLoss,
}

/// Why a store cannot be opened.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the message of each variant says what it is")]
pub enum OpenError {
    #[error("cannot create the directory {}", path.display())]
    Directory { path: PathBuf, source: std::io::Error },
    #[error("{} is in use by another process", path.display())]
    InUse { path: PathBuf },
    #[error("{} was written by a newer flash (its schema is {found}, this one supports up to {})", path.display(), schema::VERSION)]
    Newer { path: PathBuf, found: i64 },
    #[error("{} is unreadable", path.display())]
    Unreadable { path: PathBuf, source: rusqlite::Error },
    #[error("could not start the writer thread")]
    Thread(#[source] std::io::Error),
}

/// Changes cannot be written now; they are kept in memory and retried.
#[derive(Debug, Clone, thiserror::Error)]
#[error("could not write to the job store: {0}")]
pub(crate) struct Failing(Arc<str>);

/// A handle to the store. Cheap to share.
#[derive(Clone)]
pub(crate) struct Store {
    shared: Arc<Shared>,
    keys: KeyTables,
    suspect_lock: SuspectLock,
}

/// A store that was opened.
pub(super) struct Opened {
    pub store: Store,
    /// Continues where the last platform's stopped.
    pub clock: Clock,
    pub set_aside: SetAside,
}

/// Jobs that could not be read. They are kept apart.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct SetAside {
    /// How many there were before.
    pub before: usize,
    /// Found now: positions and problems.
    pub now: Vec<(u64, String)>,
}

/// The turn of suspects that may have killed the previous platform: one at a time in all queues, so that the next
/// death identifies the cause. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(super) struct SuspectLock(Arc<AtomicBool>);

/// The right to be the one. Given back on drop.
#[derive(Debug)]
pub(super) struct SuspectPermit(Arc<AtomicBool>);

impl SuspectLock {
    /// `None` while another job has it.
    pub(super) fn try_acquire(&self) -> Option<SuspectPermit> {
        (!self.0.swap(true, Ordering::AcqRel)).then(|| SuspectPermit(self.0.clone()))
    }
}

impl Drop for SuspectPermit {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

struct Shared {
    pending: Mutex<Pending>,
    /// Changes came, or the store closes.
    wake: Condvar,
    progress: watch::Sender<Progress>,
    next_seq: AtomicU64,
    writer: Mutex<Option<std::thread::JoinHandle<()>>>,
}

#[derive(Default)]
struct Pending {
    changes: Vec<Change>,
    last: Ticket,
    closed: bool,
}

#[derive(Debug, Clone, Default)]
struct Progress {
    committed: Ticket,
    failing: Option<Failing>,
}

impl Store {
    /// Opens the store in this directory, or creates it, and passes every job in it to `found`, oldest first. Jobs
    /// that cannot be read are set aside.
    ///
    /// # Errors
    /// When it is in use, unreadable or from a newer version. Nothing is changed then.
    pub(super) fn open(
        directory: &Path,
        durability: Durability,
        mut found: impl FnMut(Stored),
    ) -> Result<Opened, OpenError> {
        // Other users must not read inputs and results.
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)
            .map_err(|source| OpenError::Directory { path: directory.to_owned(), source })?;
        if durability == Durability::PowerLoss {
            // SQLite does this for files; the directory and those above it may have just been created.
            for made in directory.ancestors().take(3).filter(|made| !made.as_os_str().is_empty()) {
                let synchronised = std::fs::File::open(made).and_then(|directory| directory.sync_all());
                synchronised.map_err(|source| OpenError::Directory { path: made.to_owned(), source })?;
            }
        }
        let keys = KeyTables::default();
        let schema::Opened { connection, last, mark, damaged, set_aside } =
            schema::open(&directory.join("jobs.sqlite"), durability, |stored| {
                if let Some(key) = stored.entry.key() {
                    keys.of(&stored.endpoint).lock().name(key, stored.id, Ticket::default());
                }
                found(stored);
            })?;
        let shared = Arc::new(Shared {
            pending: Mutex::default(),
            wake: Condvar::new(),
            progress: watch::Sender::default(),
            next_seq: AtomicU64::new(last + 1),
            writer: Mutex::default(),
        });
        let store = Self { shared: shared.clone(), keys, suspect_lock: SuspectLock::default() };
        let clock = Clock::resuming(mark.as_ref());
        // Before any other change, to mark the start of this platform. On a full disk it waits like all changes.
        store.write(Change::Opened(clock.mark()));
        let set_aside = SetAside {
            before: set_aside,
            now: damaged.iter().map(|damaged| (damaged.seq.0, damaged.problem.clone())).collect(),
        };
        for damaged in damaged {
            store.write(Change::SetAside(damaged));
        }
        let thread = std::thread::Builder::new()
            .name("flash-store".to_owned())
            .spawn(move || writer::run(&connection, &shared))
            .map_err(OpenError::Thread)?;
        *store.shared.writer.lock() = Some(thread);
        Ok(Opened { store, clock, set_aside })
    }

    /// See [`SuspectLock`].
    pub(super) fn suspect_lock(&self) -> &SuspectLock {
        &self.suspect_lock
    }

    /// Whether a change is durable.
    pub(super) fn is_committed(&self, ticket: Ticket) -> bool {
        ticket <= self.shared.progress.borrow().committed
    }

    /// The keys by which clients know jobs of this endpoint.
    pub(super) fn keys(&self, endpoint: &Arc<str>) -> Keys {
        self.keys.of(endpoint)
    }

    /// A place for a new job.
    pub(super) fn next_seq(&self) -> Seq {
        Seq(self.shared.next_seq.fetch_add(1, Ordering::Relaxed))
    }

    /// Hands a change to the writer.
    pub(super) fn write(&self, change: Change) -> Ticket {
        let mut pending = self.shared.lock();
        pending.changes.push(change);
        pending.last.0 += 1;
        let ticket = pending.last;
        let first = pending.changes.len() == 1;
        drop(pending);
        // The writer takes all changes, so only the first of a group wakes it.
        if first {
            self.shared.wake.notify_one();
        }
        ticket
    }

    /// Why nothing can be written now, if so.
    pub(super) fn failing(&self) -> Option<Failing> {
        self.shared.progress.borrow().failing.clone()
    }

    /// Waits until a change is durable.
    ///
    /// # Errors
    /// When it cannot be written now. It will be, as soon as that is possible.
    pub(crate) async fn committed(&self, ticket: Ticket) -> Result<(), Failing> {
        if ticket <= self.shared.progress.borrow().committed {
            return Ok(());
        }
        let mut progress = self.shared.progress.subscribe();
        let settled = |progress: &Progress| progress.committed >= ticket || progress.failing.is_some();
        match progress.wait_for(settled).await {
            Ok(progress) if progress.committed >= ticket => Ok(()),
            Ok(progress) => Err(progress.failing.clone().unwrap_or_else(|| Failing("closed".into()))),
            // The sender lives in what this handle holds.
            Err(_) => Err(Failing("closed".into())),
        }
    }

    /// Like [`Store::committed`], for all changes so far.
    ///
    /// # Errors
    /// As there.
    pub(super) async fn all_committed(&self) -> Result<(), Failing> {
        let last = self.shared.lock().last;
        self.committed(last).await
    }

    /// Commits the rest and ends the writer, at a normal end of the platform. Blocks.
    pub(crate) fn close(&self) {
        if !self.shared.lock().closed {
            self.write(Change::Closed);
        }
        self.end();
    }

    fn end(&self) {
        self.shared.lock().closed = true;
        self.shared.wake.notify_one();
        let thread = self.shared.writer.lock().take();
        if let Some(thread) = thread {
            // Its panic would be a bug that it has printed already.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
impl Store {
    /// Ends like a killed process: uncommitted changes are lost.
    pub(super) fn crash(&self) {
        self.shared.lock().changes.clear();
        self.end();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Pending> {
        // The data is consistent after the last complete step.
        self.pending.lock()
    }
}
