//! Chunks of streaming jobs on their way through a queue: from a worker, and to a client of `stream`.
use std::time::Duration;

use flash_protocol::wire::Payload;

use super::{
    chunks::{Offered, Stream},
    endpoint_queue::Queue,
    id::JobId,
    store::Failing,
};
use crate::worker_id::WorkerId;

impl Queue {
    /// One chunk of a streaming job, from a worker that gets no answer.
    pub(crate) fn chunk(&self, worker: &WorkerId, job: JobId, chunk: Payload) {
        let mut inner = self.lock();
        let Some(entry) = inner.jobs.get_mut(job).filter(|entry| entry.is_run_by(worker)) else { return };
        if entry.take_chunk(chunk, &self.settings.budget).is_err() {
            entry.run_mut().chunks.close();
        }
    }

    /// Like [`Queue::chunk`], from a worker that waits for the answer. If there is no room and a client fetches the
    /// stream, it waits for room, up to `hold`, so that the worker follows the client's pace.
    pub(crate) async fn offer_chunk(
        &self,
        worker: &WorkerId,
        job: JobId,
        mut chunk: Payload,
        hold: Duration,
    ) -> Offered {
        let until = tokio::time::Instant::now() + hold;
        loop {
            let arrivals = {
                let mut inner = self.lock();
                let running = inner.jobs.get_mut(job).filter(|entry| entry.is_run_by(worker));
                let Some(entry) = running else { return Offered::NotRunning };
                match entry.take_chunk(chunk, &self.settings.budget) {
                    Ok(()) => return Offered::Taken,
                    Err(refused) => chunk = refused,
                }
                let chunks = &mut entry.run_mut().chunks;
                let is_over = tokio::time::Instant::now() >= until;
                if chunks.is_closed() || !chunks.has_reader() || is_over {
                    chunks.close();
                    return Offered::Refused;
                }
                // Registered under the lock, so that later fetches wake it.
                entry.arrivals().notified_owned()
            };
            // Over or not, the next look decides.
            let _ = tokio::time::timeout_at(until, arrivals).await;
        }
    }

    /// Chunks that were not fetched yet, with the current status. Waits until there is something new, or `hold` has
    /// passed.
    ///
    /// # Errors
    /// See [`Queue::status`].
    pub(crate) async fn stream(&self, job: JobId, hold: Duration) -> Result<Option<Stream>, Failing> {
        self.stream_part(job, hold, usize::MAX).await
    }

    /// Like [`Queue::stream`], but after the first chunk only those that fit into this many bytes. The rest stays.
    ///
    /// # Errors
    /// See [`Queue::status`].
    pub(crate) async fn stream_part(
        &self,
        job: JobId,
        hold: Duration,
        most: usize,
    ) -> Result<Option<Stream>, Failing> {
        let until = tokio::time::Instant::now() + hold;
        loop {
            let arrivals = |queue: &Self| {
                let mut inner = queue.lock();
                let entry = inner.jobs.get_mut(job)?;
                entry.set_has_reader();
                Some(entry.arrivals())
            };
            let Some(arrived) = self.home_of(arrivals) else { return Ok(None) };
            let arrived = arrived.notified();
            let news = |queue: &Self| {
                let inner = queue.lock();
                let entry = inner.jobs.get(job)?;
                Some((entry.has_chunks() || entry.status().is_final(), entry.ticket))
            };
            let Some((has_news, ticket)) = self.home_of(news) else { return Ok(None) };
            if !has_news && tokio::time::timeout_at(until, arrived).await.is_ok() {
                continue;
            }
            // Before the chunks are removed, so that a client that gets an error can fetch them later.
            self.settings.store.committed(ticket).await?;
            let chunks = |queue: &Self| {
                let mut inner = queue.lock();
                let entry = inner.jobs.get_mut(job)?;
                Some((entry.ticket == ticket).then(|| entry.fetch_chunks(most)))
            };
            match self.home_of(chunks) {
                None => return Ok(None),
                Some(Some(stream)) => return Ok(Some(stream)),
                // It changed in between, and the change must be durable too.
                Some(None) => {}
            }
        }
    }
}
