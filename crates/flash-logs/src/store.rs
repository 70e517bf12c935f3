//! The handle of a log: opens and closes it, and connects callers, the writer and queries.
use std::{
    fs::{DirBuilder, File, TryLockError},
    io,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
    sync::Arc,
    thread::JoinHandle,
};

use parking_lot::Mutex;

use super::{
    limits::LogLimits,
    line::{LogLine, Sink},
    line_buffer::LineBuffer,
    query::{self, Records},
    search::{LogQuery, SearchError},
    writer::{SystemServices, Writer},
};

/// A log on disk. Cheap to clone; closed when its last handle and sink are dropped.
#[derive(Clone)]
pub struct LogStore(Arc<Handle>);

struct Handle {
    buffer: Arc<LineBuffer>,
    directory: PathBuf,
    writer: Mutex<Option<JoinHandle<()>>>,
}

impl LogStore {
    /// Opens the log in this directory, and creates the directory if needed.
    ///
    /// # Errors
    /// When another store has it open, or the disk refuses.
    pub fn open(directory: &Path, limits: LogLimits) -> io::Result<Self> {
        Self::open_by(directory, limits, SystemServices::default())
    }

    /// Like [`LogStore::open`], with these means.
    pub(super) fn open_by(directory: &Path, limits: LogLimits, services: SystemServices) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
        let lock = lock(directory)?;
        let buffer = Arc::new(LineBuffer::new(limits.waiting_bytes));
        let writer = Writer::open(directory, limits, services, buffer.clone())?;
        let writing = move || {
            writer.run();
            // Until here, no other process may write.
            drop(lock);
        };
        let thread = std::thread::Builder::new().name("flash-logs".to_owned()).spawn(writing)?;
        let writer = Mutex::new(Some(thread));
        Ok(Self(Arc::new(Handle { buffer, directory: directory.to_owned(), writer })))
    }

    /// Takes lines. Blocks for a moment when the disk is behind by more than [`LogLimits::waiting_bytes`], and never
    /// on a thread of the async runtime.
    pub fn sink(&self) -> Sink {
        let handle = self.0.clone();
        Arc::new(move |line: LogLine| handle.buffer.say(&line))
    }

    /// Lines of the log, in order of arrival: existing lines and then, if the query follows, new lines until the
    /// store is closed. Lines that were logged before this call are included.
    ///
    /// The work is done by a thread that ends with the stream; nothing here blocks.
    ///
    /// # Errors
    /// If the search is not a valid regular expression.
    pub fn query(&self, query: &LogQuery) -> Result<Records, SearchError> {
        query::start(self.0.buffer.clone(), self.0.directory.clone(), query)
    }

    /// Writes waiting lines and ends the writer. Blocks. Later lines are not stored.
    pub fn close(&self) {
        self.0.close();
    }
}

impl Handle {
    fn close(&self) {
        self.buffer.close();
        let writer = self.writer.lock().take();
        if let Some(writer) = writer {
            // Its panic would be a bug that it has printed already.
            let _ = writer.join();
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.close();
    }
}

/// Only one store may write: a second one would number its segments alike.
fn lock(directory: &Path) -> io::Result<File> {
    let path = directory.join("lock");
    let file = File::options().create(true).truncate(false).write(true).open(&path)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            let text = format!("the log in {} is in use by another process", directory.display());
            Err(io::Error::new(io::ErrorKind::ResourceBusy, text))
        }
        Err(TryLockError::Error(error)) => Err(error),
    }
}
