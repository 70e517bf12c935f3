//! The handle of the store: opens it, hands changes to its writer, and waits for them.
use std::{
    os::unix::fs::DirBuilderExt as _,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use parking_lot::{Condvar, Mutex};
use tokio::sync::watch;

use super::{
    super::{
        clock::Clock,
        guard::SuspectLock,
        keys::{KeyTables, Keys},
        ticket::{Seq, Ticket},
    },
    open_error::{Durability, OpenError},
    record::{Change, Found, Record, StoredSchedule},
    schema,
    shared::{Failing, Progress, Shared},
    writer,
};

/// A handle to the store. Cheap to share.
#[derive(Clone)]
pub(crate) struct Store {
    shared: Arc<Shared>,
    keys: KeyTables,
    suspect_lock: SuspectLock,
}

/// A store that was opened.
pub(in super::super) struct Opened {
    pub store: Store,
    /// Continues where the last platform's stopped.
    pub clock: Clock,
    pub set_aside: SetAside,
    pub schedules: Vec<StoredSchedule>,
}

/// Jobs that could not be read. They are kept apart.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct SetAside {
    /// How many there were before.
    pub before: usize,
    /// Found now: positions and problems.
    pub now: Vec<(u64, String)>,
}

impl Store {
    /// Opens the store in this directory, or creates it, and passes every job in it to `found`, oldest first. Jobs
    /// that cannot be read are set aside.
    ///
    /// # Errors
    /// When it is in use, unreadable or from a newer version. Nothing is changed then.
    pub(in super::super) fn open(
        directory: &Path,
        durability: Durability,
        mut found: impl FnMut(Found),
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
        let schema::Opened { connection, last, mark, damaged, set_aside, schedules } =
            schema::open(&directory.join("jobs.sqlite"), durability, |job| {
                let Record { endpoint, id, extras, .. } = &job.record;
                if let Some(key) = extras.as_ref().and_then(|extras| extras.idempotency.as_ref()) {
                    keys.of(endpoint).lock().name(key, *id, Ticket::default());
                }
                found(job);
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
        Ok(Opened { store, clock, set_aside, schedules })
    }

    /// See [`SuspectLock`].
    pub(in super::super) fn suspect_lock(&self) -> &SuspectLock {
        &self.suspect_lock
    }

    /// Whether a change is durable.
    pub(in super::super) fn is_committed(&self, ticket: Ticket) -> bool {
        ticket <= self.shared.progress.borrow().committed
    }

    /// The keys by which clients know jobs of this endpoint.
    pub(in super::super) fn keys(&self, endpoint: &Arc<str>) -> Keys {
        self.keys.of(endpoint)
    }

    /// A place for a new job.
    pub(in super::super) fn next_seq(&self) -> Seq {
        Seq(self.shared.next_seq.fetch_add(1, Ordering::Relaxed))
    }

    /// Hands a change to the writer.
    pub(in super::super) fn write(&self, change: Change) -> Ticket {
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

    /// Stores the state of a schedule, after all jobs that were submitted before.
    pub(crate) fn keep_schedule(&self, schedule: StoredSchedule) {
        self.write(Change::Schedule(schedule));
    }

    /// Why nothing can be written now, if so.
    pub(in super::super) fn failing(&self) -> Option<Failing> {
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
    pub(in super::super) async fn all_committed(&self) -> Result<(), Failing> {
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
    pub(in super::super) fn crash(&self) {
        self.shared.lock().changes.clear();
        self.end();
    }
}
