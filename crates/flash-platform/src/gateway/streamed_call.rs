//! A call of a worker that reads the chunks of a job as they come.
//!
//! Not more than the caller's window is sent before it has read some. The rest waits in the queue, within the bounds of
//! chunks there, so a slow reader costs no memory here.
use std::{sync::Arc, time::Duration};

use flash_protocol::{
    ErrorKind, WireError,
    wire::{
        Payload,
        exchange::{CallChunkFrame, ReplyFrame, ReplyResult, ToWorker, Writer, window_share},
        job::JobStatus,
    },
};
use tokio::sync::{Semaphore, oneshot};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::queue::{JobId, Queue, StreamEnd};

/// How long the queue is asked to wait for a chunk, before it is asked again.
const HOLD: Duration = Duration::from_secs(60);
/// The most bytes of chunks that are taken out of the queue at once, if they are several.
const PART: usize = 256 * 1024;

/// The caller's window. Dropping it ends the delivery.
pub(super) struct Window {
    size: u32,
    /// Closed once everything is delivered.
    free: Arc<Semaphore>,
    _delivers: DropGuard,
}

impl Window {
    /// The caller has read chunks that take this much of the window.
    pub(super) fn read(&self, share: u32) {
        let in_use = (self.size as usize).saturating_sub(self.free.available_permits());
        self.free.add_permits(in_use.min(share as usize));
    }

    /// Whether everything is delivered.
    pub(super) fn is_over(&self) -> bool {
        self.free.is_closed()
    }
}

/// Where the chunks of a call go.
pub(super) struct Delivery {
    call: u64,
    frames: Writer<ToWorker>,
    size: u32,
    free: Arc<Semaphore>,
    delivers: CancellationToken,
    /// The attempt that made the chunks so far.
    attempt: Option<u32>,
}

/// Why a delivery ends early.
enum Ended {
    CallerIsGone,
    Refused(Box<WireError>),
}

impl Delivery {
    /// A delivery to this call, and its window.
    pub(super) fn new(call: u64, frames: Writer<ToWorker>, size: u32) -> (Self, Window) {
        // A chunk takes up to half of it.
        let size = size.max(2);
        let free = Arc::new(Semaphore::new(size as usize));
        let delivers = CancellationToken::new();
        let window = Window { size, free: free.clone(), _delivers: delivers.clone().drop_guard() };
        (Self { call, frames, size, free, delivers, attempt: None }, window)
    }

    /// Delivers the chunks of this job and the reply.
    pub(super) async fn run(mut self, queue: Arc<Queue>, job: JobId, end: oneshot::Receiver<StreamEnd>) {
        let delivers = self.delivers.clone();
        if let Some(outcome) = delivers.run_until_cancelled(self.deliver(&queue, job, end)).await {
            let result = match outcome {
                Ok(result) => Some(result),
                Err(Ended::Refused(error)) => {
                    // It may have ended.
                    let _ = queue.cancel(job);
                    Some(ReplyResult::Refused(*error))
                }
                Err(Ended::CallerIsGone) => None,
            };
            // A caller that is gone does not need it.
            result.map(|result| {
                self.frames.send(ToWorker::Reply(ReplyFrame { call: self.call, result, attached: None }))
            });
        }
        self.free.close();
    }

    async fn deliver(
        &mut self,
        queue: &Queue,
        job: JobId,
        mut end: oneshot::Receiver<StreamEnd>,
    ) -> Result<ReplyResult, Ended> {
        let ended = loop {
            let news = tokio::select! {
                biased;
                ended = &mut end => break ended,
                news = queue.stream_part(job, HOLD, PART) => news,
            };
            match news {
                Ok(Some(news)) => self.send(news.attempt, news.chunks).await?,
                // Its end is on the way.
                Ok(None) => break (&mut end).await,
                Err(failing) => {
                    return Err(refused(ErrorKind::NoWorker, failing.to_string()));
                }
            }
        };
        let StreamEnd { job, attempt, chunks } =
            ended.map_err(|_| refused(ErrorKind::NoWorker, "the job was dropped".to_owned()))?;
        if job.status == JobStatus::Completed {
            self.check(attempt)?;
        }
        self.send(attempt, chunks).await?;
        Ok(ReplyResult::Job(job))
    }

    async fn send(&mut self, attempt: u32, chunks: Vec<Payload>) -> Result<(), Ended> {
        for chunk in chunks {
            self.check(attempt)?;
            self.attempt = Some(attempt);
            let share = window_share(&chunk, self.size);
            // Only this closes it.
            let permits = self.free.acquire_many(share).await.map_err(|_| Ended::CallerIsGone)?;
            permits.forget();
            if !self.frames.send(ToWorker::CallChunk(CallChunkFrame { call: self.call, chunk })) {
                return Err(Ended::CallerIsGone);
            }
        }
        Ok(())
    }

    /// A job that begins anew makes its first chunks again, but its caller has read some.
    fn check(&self, attempt: u32) -> Result<(), Ended> {
        match self.attempt {
            Some(first) if first != attempt => Err(refused(
                ErrorKind::NoWorker,
                format!(
                    "attempt {first} ended after some of its chunks were read, so a further attempt cannot go on \
                     with the stream; call again to start from the first chunk"
                ),
            )),
            _ => Ok(()),
        }
    }
}

fn refused(kind: ErrorKind, message: String) -> Ended {
    Ended::Refused(Box::new(WireError::new(kind, message)))
}

#[cfg(test)]
mod tests {
    use flash_protocol::wire::{
        base64,
        exchange::{self, FrameFormat, Reader, ToPlatform},
        payload,
    };
    use futures_util::poll;
    use serde_json::value::RawValue;
    use tokio::io::DuplexStream;

    use super::*;

    fn delivery(size: u32) -> (Delivery, Window, Reader<DuplexStream>) {
        let (near, far) = tokio::io::duplex(1024);
        let (frames, queued) = exchange::queue(FrameFormat::Json);
        tokio::spawn(exchange::serve(near, queued, |_: ToPlatform| {}));
        let (delivery, window) = Delivery::new(7, frames, size);
        (delivery, window, exchange::read(far))
    }

    fn chunks(texts: &[&str]) -> Vec<Payload> {
        texts.iter().map(|text| RawValue::from_string((*text).to_owned()).unwrap().into()).collect()
    }

    async fn next_chunk(frames: &mut Reader<DuplexStream>) -> String {
        match frames.next::<ToWorker>().await.unwrap().unwrap() {
            ToWorker::CallChunk(CallChunkFrame { call: 7, chunk }) => chunk.into_json().get().to_owned(),
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn no_more_than_the_window_is_sent_before_some_is_read() {
        let (mut delivery, window, mut frames) = delivery(8);
        let mut sending = Box::pin(delivery.send(1, chunks(&["1234", "\"far too large\"", "3"])));
        assert!(poll!(&mut sending).is_pending());
        assert_eq!(next_chunk(&mut frames).await, "1234");
        assert_eq!(next_chunk(&mut frames).await, "\"far too large\"", "it takes half of the window");
        window.read(1_000);
        assert!(sending.await.is_ok());
        assert_eq!(next_chunk(&mut frames).await, "3");
        assert!(!window.is_over());
    }

    #[tokio::test]
    async fn bytes_beside_the_text_of_a_chunk_count_and_arrive_as_they_are() {
        let (near, far) = tokio::io::duplex(1024);
        let (frames, queued) = exchange::queue(FrameFormat::Attachments);
        tokio::spawn(exchange::serve(near, queued, |_: ToPlatform| {}));
        let (mut delivery, window) = Delivery::new(7, frames, 4000);
        let mut frames = exchange::read(far);
        let bytes = bytes::Bytes::from(vec![7; 1500]);
        let text = || payload::attach(&bytes).unwrap();
        let chunk = || Payload::collect(|| serde_json::value::to_raw_value(&text())).unwrap();
        let mut sending = Box::pin(delivery.send(1, vec![chunk(), chunk(), chunk()]));
        assert!(poll!(&mut sending).is_pending(), "two of them fill the window");
        for _ in 0..2 {
            match frames.next::<ToWorker>().await.unwrap().unwrap() {
                ToWorker::CallChunk(frame) => {
                    assert!(frame.chunk.has_attachments());
                    let text: String = serde_json::from_str(frame.chunk.to_json().get()).unwrap();
                    assert_eq!(base64::decode(&text), Some(bytes.to_vec()));
                }
                other => panic!("{other:?}"),
            }
        }
        window.read(4000);
        assert!(sending.await.is_ok());
    }

    #[tokio::test]
    async fn a_further_attempt_does_not_go_on_with_a_stream_that_was_read() {
        let (mut delivery, _window, _frames) = delivery(1024);
        assert!(delivery.send(1, Vec::new()).await.is_ok());
        assert!(delivery.send(2, chunks(&["1"])).await.is_ok(), "nothing of the first was read");
        match delivery.send(3, chunks(&["1"])).await {
            Err(Ended::Refused(error)) => {
                assert_eq!(error.kind, ErrorKind::NoWorker);
                assert!(error.message.starts_with("attempt 2 ended"), "{}", error.message);
            }
            _ => panic!("it is refused"),
        }
    }
}
