//! The exchange: one connection between a Flash worker and the Flash platform, instead of polling.
//!
//! Runpod and its workers do not use it. A worker with the exchange's URL in its environment variables sends `GET`
//! with `Upgrade: flash-exchange`. After `101`, both sides send frames: the length in four bytes, big endian, then
//! that many bytes of JSON. The platform pushes jobs; results and calls to other functions come back on the same
//! connection, so a hop costs one write and one read on each side. When the connection ends, so do the worker's
//! leases.
use serde::{Deserialize, Serialize};

use super::{RawJson, envelope::Envelope, job::JobObject};

/// The protocol name in the `Upgrade` header.
pub const PROTOCOL: &str = "flash-exchange";

/// A longer frame is refused and ends the connection: a 20 MB result with room for its head.
pub const MAX_FRAME_BYTES: usize = 32 * 1024 * 1024;

/// A larger result or argument fails its job or call: the provider's payload limit.
pub const MAX_RESULT_BYTES: usize = 20_000_000;

/// Tells a worker the slot of the request that it serves.
pub const SLOT_HEADER: &str = "x-flash-slot";

/// In an answer: a thread of the request still runs, so its slot is not free after the last byte.
pub const HELD_HEADER: &str = "x-flash-held";

/// Platform to worker.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ToWorker {
    /// Run this job.
    Job(JobFrame),
    /// Stop this attempt, which was cancelled or ran too long. Its end must still be reported, to free the slot.
    Stop(StopFrame),
    /// No more jobs will come; finish and exit. It means the same as SIGTERM, which the Flash platform sends instead.
    Drain,
    /// The end of a call that this worker made.
    Reply(ReplyFrame),
    /// Nobody waits for the request in this slot any more. Report when nothing of it runs.
    Release(u64),
}

/// Worker to platform.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ToPlatform {
    /// The worker is initialised and ready for jobs or, if it is load-balanced, for requests.
    Ready(ReadyFrame),
    /// A job ended.
    Done(DoneFrame),
    /// One chunk of a streaming job.
    Chunk(OutputFrame),
    /// Progress of a job.
    Progress(OutputFrame),
    /// A call to a function of another worker type.
    Call(CallFrame),
    /// The caller no longer waits for this call.
    Abandon(u64),
    /// Nothing of the request in this slot runs any more.
    Released(u64),
}

/// A job for a worker.
#[derive(Debug, Serialize, Deserialize)]
pub struct JobFrame {
    /// The job's id.
    pub id: String,
    /// The attempt, from 1. Results contain it, so that a late result of a lost attempt can be refused.
    pub attempt: u32,
    /// Maximum milliseconds to run.
    pub timeout_ms: u64,
    /// What the call inherits.
    pub envelope: Envelope,
    /// The function's input.
    pub input: RawJson,
}

/// The attempt to stop.
#[derive(Debug, Serialize, Deserialize)]
pub struct StopFrame {
    /// The job's id.
    pub id: String,
    /// The attempt.
    pub attempt: u32,
}

/// A worker is ready.
#[derive(Debug, Serialize, Deserialize)]
pub struct ReadyFrame {
    /// Jobs or requests that it runs at once.
    pub max_concurrency: u32,
    /// The loopback port of a load-balanced worker.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http_port: Option<u16>,
    /// Whether it answers [`ToWorker::Release`]; workers of earlier versions do not.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub releases_slots: bool,
}

/// The end of a job.
#[derive(Debug, Serialize, Deserialize)]
pub struct DoneFrame {
    /// The job's id.
    pub id: String,
    /// The attempt that ended.
    pub attempt: u32,
    /// The result, unless it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<RawJson>,
    /// The error text, when it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Microseconds that it ran.
    pub ran_us: u64,
}

/// A chunk or progress of a running job.
#[derive(Debug, Serialize, Deserialize)]
pub struct OutputFrame {
    /// The job's id.
    pub id: String,
    /// The attempt that runs.
    pub attempt: u32,
    /// The chunk or progress.
    pub output: RawJson,
}

/// A call to a function on another worker type.
#[derive(Debug, Serialize, Deserialize)]
pub struct CallFrame {
    /// A number chosen by the worker; the reply contains it.
    pub call: u64,
    /// The worker type to call.
    pub worker: String,
    /// What the call inherits.
    pub envelope: Envelope,
    /// The function's input.
    pub input: RawJson,
}

/// The end of a call.
#[derive(Debug, Serialize, Deserialize)]
pub struct ReplyFrame {
    /// The number of the call.
    pub call: u64,
    /// The job in its final state, or the refusal.
    pub result: ReplyResult,
}

/// How a call ended.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReplyResult {
    /// The job ended, with or without an error.
    Job(JobObject),
    /// No job was created.
    Refused(crate::error::WireError),
}
pub use connection::{Reader, Writer, read, write};
mod connection {
    //! Framing over any byte stream.
    use std::io;

    use serde::{Serialize, de::DeserializeOwned};
    use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, BufReader};
    use tokio::sync::mpsc;

    use super::MAX_FRAME_BYTES;

    /// Reads frames; returns `None` at the end of the connection.
    pub struct Reader<R> {
        inner: BufReader<R>,
        buffer: Vec<u8>,
    }

    /// A cheap handle to send frames. Its queue is bounded by the user's work in flight: one frame per job or call.
    pub struct Writer<T> {
        /// `None` ends the connection after everything queued before it.
        frames: mpsc::UnboundedSender<Option<T>>,
    }

    impl<T> Clone for Writer<T> {
        fn clone(&self) -> Self {
            Self { frames: self.frames.clone() }
        }
    }

    impl<T> Writer<T> {
        /// Queues a frame. `false` if the connection is closed.
        pub fn send(&self, frame: T) -> bool {
            self.frames.send(Some(frame)).is_ok()
        }

        /// Ends the connection once everything queued is written, even if there are other handles.
        pub fn end(&self) {
            // Fails if the connection is already closed, which is fine.
            let _ = self.frames.send(None);
        }

        /// Whether the connection is closed.
        pub fn is_closed(&self) -> bool {
            self.frames.is_closed()
        }
    }

    /// Reads frames from this stream.
    pub fn read<R: AsyncRead + Unpin>(stream: R) -> Reader<R> {
        Reader { inner: BufReader::with_capacity(64 * 1024, stream), buffer: Vec::new() }
    }

    impl<R: AsyncRead + Unpin> Reader<R> {
        /// The next frame; `None` at the end of the stream.
        ///
        /// # Errors
        /// If the connection breaks, or the frame is too long or of another type.
        pub async fn next<T: DeserializeOwned>(&mut self) -> io::Result<Option<T>> {
            let length = match self.inner.read_u32().await {
                Ok(length) => length as usize,
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
                Err(error) => return Err(error),
            };
            if length > MAX_FRAME_BYTES {
                return Err(io::Error::other(format!(
                    "frame of {length} bytes, the limit is {MAX_FRAME_BYTES}"
                )));
            }
            self.buffer.resize(length, 0);
            self.inner.read_exact(&mut self.buffer).await?;
            let frame = serde_json::from_slice(&self.buffer).map_err(io::Error::from);
            // Frees the memory of a large frame instead of keeping it for the life of the connection.
            if self.buffer.capacity() > 1024 * 1024 {
                self.buffer = Vec::new();
            }
            frame.map(Some)
        }
    }

    /// Returns a handle to send frames, and the future that writes them, all queued frames in one write.
    ///
    /// The future ends after [`Writer::end`], when all handles are dropped, or when the connection breaks.
    pub fn write<T, W>(mut stream: W) -> (Writer<T>, impl Future<Output = io::Result<()>> + Send)
    where
        T: Serialize + Send,
        W: AsyncWrite + Unpin + Send,
    {
        let (frames, mut queued) = mpsc::unbounded_channel::<Option<T>>();
        let task = async move {
            let mut batch = Vec::new();
            let mut bytes = Vec::with_capacity(16 * 1024);
            let mut open = true;
            while open && queued.recv_many(&mut batch, 128).await > 0 {
                bytes.clear();
                for frame in batch.drain(..) {
                    match frame {
                        Some(frame) => append(&mut bytes, &frame)?,
                        None => open = false,
                    }
                }
                stream.write_all(&bytes).await?;
                stream.flush().await?;
                if bytes.capacity() > 1024 * 1024 {
                    bytes = Vec::with_capacity(16 * 1024);
                }
            }
            stream.shutdown().await
        };
        (Writer { frames }, task)
    }

    fn append<T: Serialize>(bytes: &mut Vec<u8>, frame: &T) -> io::Result<()> {
        let head = bytes.len();
        bytes.extend_from_slice(&[0; 4]);
        serde_json::to_writer(&mut *bytes, frame)?;
        let length = u32::try_from(bytes.len() - head - 4).map_err(io::Error::other)?;
        bytes[head..head + 4].copy_from_slice(&length.to_be_bytes());
        Ok(())
    }

    #[cfg(test)]
    mod tests {
        use super::super::{ToPlatform, ToWorker};
        use super::*;

        #[tokio::test]
        async fn frames_arrive_in_order_and_the_end_is_seen() {
            let (near, far) = tokio::io::duplex(64);
            let (writer, task) = write::<ToPlatform, _>(near);
            let task = tokio::spawn(task);
            for call in 0..200 {
                assert!(writer.send(ToPlatform::Abandon(call)));
            }
            drop(writer);
            let mut reader = read(far);
            for expected in 0..200 {
                let frame: Option<ToPlatform> = reader.next().await.unwrap();
                assert!(matches!(frame, Some(ToPlatform::Abandon(call)) if call == expected));
            }
            assert!(reader.next::<ToPlatform>().await.unwrap().is_none());
            task.await.unwrap().unwrap();
        }

        #[tokio::test]
        async fn an_overlong_frame_is_refused_before_it_is_read() {
            let mut reader = read(&[0xff_u8, 0xff, 0xff, 0xff, b'{'][..]);
            let error = reader.next::<ToWorker>().await.unwrap_err();
            assert!(error.to_string().contains("the limit is"), "{error}");
        }
    }
}
