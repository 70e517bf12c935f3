//! The chunks of a function on another worker, as they arrive over the exchange.
use std::vec;

use flash_protocol::{
    Error, ErrorKind, Result,
    wire::{
        Payload, RawJson,
        exchange::{ReplyResult, window_share},
        fault,
        job::{JobObject, JobStatus},
    },
};
use futures_util::stream::{self, BoxStream, StreamExt as _};

use super::exchange::{Arrival, Arrivals, Calls, Outgoing};

/// Bytes of chunks that may wait in this process until they are read. One that is larger may wait beside it.
const WINDOW: u32 = 256 * 1024;

impl Calls {
    /// Calls a streaming function. An error is the last item. Dropping the stream abandons the job.
    pub(super) fn stream(&self, call: Outgoing<'_>) -> Result<BoxStream<'static, Result<Payload>>> {
        let arrivals = self.open(call, WINDOW)?;
        let reading = Reading::Arriving { arrivals, unreported: 0 };
        Ok(stream::unfold(reading, next).boxed())
    }
}

enum Reading {
    Arriving {
        arrivals: Arrivals,
        /// The share of the window that was read since the last report.
        unreported: u32,
    },
    /// What a platform sent at the end.
    Rest(vec::IntoIter<Payload>),
}

async fn next(reading: Reading) -> Option<(Result<Payload>, Reading)> {
    match reading {
        Reading::Rest(mut chunks) => Some((Ok(chunks.next()?), Reading::Rest(chunks))),
        Reading::Arriving { mut arrivals, unreported } => match arrivals.next().await {
            Ok(Arrival::Chunk(chunk)) => {
                let mut unreported = unreported + window_share(&chunk, WINDOW);
                if unreported >= WINDOW / 2 {
                    arrivals.read(std::mem::take(&mut unreported));
                }
                Some((Ok(chunk), Reading::Arriving { arrivals, unreported }))
            }
            Ok(Arrival::End(ReplyResult::Job(job))) => match rest_of(job) {
                Ok(chunks) => {
                    let mut chunks = chunks.into_iter();
                    Some((Ok(chunks.next()?), Reading::Rest(chunks)))
                }
                Err(error) => Some((Err(error), ended())),
            },
            Ok(Arrival::End(ReplyResult::Refused(error))) => Some((Err(error.into()), ended())),
            Err(error) => Some((Err(error), ended())),
        },
    }
}

fn ended() -> Reading {
    Reading::Rest(Vec::new().into_iter())
}

/// The chunks in the end of a job: none, or all of them from a platform that sends none before.
fn rest_of(job: JobObject) -> Result<Vec<Payload>> {
    match (job.status, &job.output) {
        (JobStatus::Completed, None) => Ok(Vec::new()),
        _ => {
            let chunks: Vec<RawJson> = serde_json::from_str(job.into_output()?.get()).map_err(|error| {
                let message = format!("the result of a stream is not a list: {}", fault(&error));
                Error::new(ErrorKind::Decode, message)
            })?;
            Ok(chunks.into_iter().map(Payload::from).collect())
        }
    }
}

#[cfg(test)]
mod tests {
    use flash_protocol::wire::exchange::{
        self, CallChunkFrame, CallFrame, ChunksReadFrame, FrameFormat, Reader, ReplyFrame, ToPlatform,
        ToWorker,
    };
    use flash_protocol::wire::{envelope::Envelope, job::Policy};
    use serde_json::value::RawValue;
    use tokio::io::DuplexStream;

    use super::*;

    /// The caller's side, and the frames that it sends.
    fn connected() -> (Calls, Reader<DuplexStream>) {
        let (near, far) = tokio::io::duplex(1024);
        let (frames, queued) = exchange::queue::<ToPlatform>(FrameFormat::Json);
        tokio::spawn(exchange::serve(near, queued, |_: ToWorker| {}));
        (Calls::new(frames), exchange::read(far))
    }

    fn json(text: &str) -> RawJson {
        RawValue::from_string(text.to_owned()).unwrap()
    }

    fn open(calls: &Calls) -> BoxStream<'static, Result<Payload>> {
        let (envelope, policy) = (Envelope::default(), Policy::default());
        calls.stream(Outgoing { worker: "w", envelope, input: json("{}").into(), policy }).unwrap()
    }

    async fn sent(frames: &mut Reader<DuplexStream>) -> ToPlatform {
        frames.next().await.unwrap().unwrap()
    }

    async fn number_of_call(frames: &mut Reader<DuplexStream>) -> u64 {
        match sent(frames).await {
            ToPlatform::Call(CallFrame { call, window: Some(WINDOW), .. }) => call,
            other => panic!("{other:?}"),
        }
    }

    fn reply(call: u64, job: &str) -> ReplyFrame {
        ReplyFrame { call, result: ReplyResult::Job(serde_json::from_str(job).unwrap()), attached: None }
    }

    #[tokio::test]
    async fn chunks_are_read_as_they_come_and_reported_by_the_half_window() {
        let (calls, mut frames) = connected();
        let mut chunks = open(&calls);
        let call = number_of_call(&mut frames).await;
        let large = json(&format!("\"{}\"", "x".repeat(90_000)));
        for _ in 0..2 {
            calls.chunk(CallChunkFrame { call, chunk: large.clone().into() });
            assert_eq!(chunks.next().await.unwrap().unwrap().to_json().get(), large.get());
        }
        match sent(&mut frames).await {
            ToPlatform::ChunksRead(ChunksReadFrame { call: of, share }) => {
                assert_eq!((of, share), (call, 2 * 90_002));
            }
            other => panic!("{other:?}"),
        }
        calls.complete(reply(call, r#"{"id":"j","status":"COMPLETED"}"#));
        assert!(chunks.next().await.is_none());
    }

    #[tokio::test]
    async fn a_failure_is_the_last_item_and_a_lost_connection_too() {
        let (calls, mut frames) = connected();
        let mut chunks = open(&calls);
        let call = number_of_call(&mut frames).await;
        calls.chunk(CallChunkFrame { call, chunk: json("1").into() });
        calls.complete(reply(call, r#"{"id":"j","status":"CANCELLED"}"#));
        assert_eq!(chunks.next().await.unwrap().unwrap().to_json().get(), "1");
        assert_eq!(chunks.next().await.unwrap().unwrap_err().kind(), ErrorKind::Cancelled);
        assert!(chunks.next().await.is_none());

        let mut chunks = open(&calls);
        calls.close();
        assert_eq!(chunks.next().await.unwrap().unwrap_err().kind(), ErrorKind::Transport);
        assert!(chunks.next().await.is_none());
    }

    #[tokio::test]
    async fn the_list_of_a_platform_that_sends_no_chunks_is_the_stream() {
        let (calls, mut frames) = connected();
        let chunks = open(&calls);
        let call = number_of_call(&mut frames).await;
        calls.complete(reply(call, r#"{"id":"j","status":"COMPLETED","output":[1,2]}"#));
        let chunks: Vec<_> = chunks.map(|chunk| chunk.unwrap().to_json().get().to_owned()).collect().await;
        assert_eq!(chunks, ["1", "2"]);
    }

    #[tokio::test]
    async fn dropping_the_stream_abandons_the_job_unless_it_has_ended() {
        let (calls, mut frames) = connected();
        let chunks = open(&calls);
        let first = number_of_call(&mut frames).await;
        drop(chunks);
        assert!(matches!(sent(&mut frames).await, ToPlatform::Abandon(call) if call == first));

        let chunks = open(&calls);
        let call = number_of_call(&mut frames).await;
        calls.complete(reply(call, r#"{"id":"j","status":"COMPLETED"}"#));
        drop(chunks);
        drop(open(&calls));
        assert!(matches!(sent(&mut frames).await, ToPlatform::Call(_)), "nothing about the one that ended");
    }
}
