//! The log of one environment, as the service keeps it.
use std::{io, path::Path};

use futures_util::{StreamExt as _, stream::BoxStream};

use super::Sink;
use crate::{
    platform::logs::{LogLimits, LogStore},
    target::{LogQuery, LogRecord, Problem, TargetError},
};

/// A handle to the log on the disk. Cheap to share.
#[derive(Clone)]
pub(super) struct Logs(LogStore);

impl Logs {
    /// Opens it, with a writer of its own.
    pub(super) fn open(directory: &Path) -> io::Result<Self> {
        LogStore::open(directory, LogLimits::default()).map(Self)
    }

    /// Takes lines.
    pub(super) fn sink(&self) -> Sink {
        self.0.sink()
    }

    /// Lines that fit.
    pub(super) fn query(
        &self,
        query: &LogQuery,
    ) -> Result<BoxStream<'static, Result<LogRecord, TargetError>>, TargetError> {
        let unreadable =
            |error: io::Error| TargetError::new(Problem::Failed, format!("the log cannot be read: {error}"));
        Ok(self.0.query(query)?.map(move |line| line.map_err(unreadable)).boxed())
    }

    /// Everything is written. Blocks.
    pub(super) fn close(&self) {
        self.0.close();
    }
}
