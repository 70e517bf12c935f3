//! The log of one environment, as the service stores it.
use std::{io, path::Path};

use futures_util::{StreamExt as _, stream::BoxStream};

use flash_logs::{LogLimits, LogStore, Sink};
use flash_target::{LogQuery, LogRecord, Problem, TargetError};

/// A handle to the log on disk. Cheap to clone.
#[derive(Clone)]
pub(super) struct Logs(LogStore);

impl Logs {
    /// Opens it, with a writer of its own.
    pub(super) fn open(directory: &Path) -> io::Result<Self> {
        LogStore::open(directory, LogLimits::default()).map(Self)
    }

    /// Accepts lines.
    pub(super) fn sink(&self) -> Sink {
        self.0.sink()
    }

    /// The log itself, for the dashboard.
    pub(super) fn store(&self) -> LogStore {
        self.0.clone()
    }

    /// Matching lines.
    pub(super) fn query(
        &self,
        query: &LogQuery,
    ) -> Result<BoxStream<'static, Result<LogRecord, TargetError>>, TargetError> {
        let unreadable =
            |error: io::Error| TargetError::new(Problem::Failed, "cannot read the log").because(error);
        Ok(self.0.query(query)?.map(move |line| line.map_err(unreadable)).boxed())
    }

    /// Waits until everything is written. Blocks.
    pub(super) fn close(&self) {
        self.0.close();
    }
}
