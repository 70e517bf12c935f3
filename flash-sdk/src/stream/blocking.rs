//! A stream whose chunks a synchronous function makes, on a thread of its own.
use std::{fmt, pin::pin};

use flash_protocol::{Error, ErrorKind, Result};
use futures_util::Stream;
use tokio::{
    runtime::Handle,
    sync::mpsc::{self, error::TrySendError},
};

use super::generator::generated;
use crate::{blocking, context::Context};

/// Chunks that the thread may be ahead of the reader.
const AHEAD: usize = 8;

/// Streams what a synchronous closure sends, such as the tokens of a model. The closure runs on a thread of the blocking
/// pool, as part of the current call, and starts when the stream is read.
///
/// [`Sink::send`] waits for a slow reader, and fails as soon as nobody reads any more or the job was stopped. So a loop
/// that sends each token with `?` ends within one token. The stream ends when the closure returns; its error, or a panic,
/// is the last item.
///
/// ```
/// use std::sync::Arc;
///
/// use flash_sdk::{Result, remote, stream::{self, Stream}};
///
/// struct Model {
///     words: Vec<String>,
/// }
///
/// #[remote(cpu = Cpu3c_1_2)]
/// impl Model {
///     #[init]
///     fn load() -> Self {
///         Self { words: ["once", "upon", "a", "time"].map(str::to_owned).to_vec() }
///     }
///
///     pub fn tell(self: Arc<Self>, limit: usize) -> impl Stream<Item = Result<String>> + Send {
///         stream::blocking(move |sink| {
///             for word in self.words.iter().take(limit) {
///                 sink.send(word.clone())?;
///             }
///             Ok(())
///         })
///     }
/// }
/// # fn main() {}
/// ```
///
/// A worker's slot stays taken until the closure has returned. Long steps between two chunks can ask [`Sink::is_open`].
pub fn blocking<T, F>(produce: F) -> impl Stream<Item = Result<T>> + Send + use<T, F>
where
    T: Send + 'static,
    F: FnOnce(Sink<T>) -> Result<()> + Send + 'static,
{
    generated(|yielder| async move {
        let (chunks, mut sent) = mpsc::channel(AHEAD);
        let sink = Sink { chunks, call: Context::current(), runtime: Handle::current() };
        let run = move || {
            // The thread may start after the stream was dropped.
            sink.check()?;
            produce(sink)
        };
        let mut running = pin!(blocking::run(run));
        let outcome = loop {
            tokio::select! {
                biased;
                Some(chunk) = sent.recv() => yielder.send(chunk).await,
                outcome = &mut running => break outcome,
            }
        };
        while let Ok(chunk) = sent.try_recv() {
            yielder.send(chunk).await;
        }
        outcome
    })
}

/// Where the closure of [`blocking`] sends its chunks. A clone sends to the same stream, until the closure has returned.
pub struct Sink<T> {
    chunks: mpsc::Sender<T>,
    /// The call that the stream is made for.
    call: Option<Context>,
    runtime: Handle,
}

impl<T> Sink<T> {
    /// Sends a chunk. If 8 chunks are not read yet, it waits until the reader has taken one.
    ///
    /// Call it from synchronous code: it panics within an async block, where it would block a thread of the runtime.
    ///
    /// # Errors
    /// When nobody will read it: [`ErrorKind::Cancelled`] if the stream was dropped or the job was cancelled,
    /// [`ErrorKind::Timeout`] if the deadline passed. Return the error, to end the work.
    pub fn send(&self, chunk: T) -> Result<()> {
        self.check()?;
        match self.chunks.try_send(chunk) {
            Ok(()) => Ok(()),
            Err(TrySendError::Closed(_)) => Err(unread()),
            Err(TrySendError::Full(chunk)) => self.runtime.block_on(self.send_when_read(chunk)),
        }
    }

    /// Whether somebody still reads. False once the stream was dropped, the job was cancelled or its deadline passed.
    pub fn is_open(&self) -> bool {
        self.check().is_ok()
    }

    fn check(&self) -> Result<()> {
        match self.call.as_ref().and_then(Context::stopped_by) {
            Some(stopped) => Err(stopped),
            None if self.chunks.is_closed() => Err(unread()),
            None => Ok(()),
        }
    }

    async fn send_when_read(&self, chunk: T) -> Result<()> {
        let stopped = async {
            match &self.call {
                Some(call) => call.stopped().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            sent = self.chunks.send(chunk) => sent.map_err(|_| unread()),
            stopped = stopped => Err(stopped),
        }
    }
}

impl<T> Clone for Sink<T> {
    fn clone(&self) -> Self {
        Self { chunks: self.chunks.clone(), call: self.call.clone(), runtime: self.runtime.clone() }
    }
}

impl<T> fmt::Debug for Sink<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sink").field("is_open", &self.is_open()).finish_non_exhaustive()
    }
}

fn unread() -> Error {
    Error::new(ErrorKind::Cancelled, "nobody reads this stream any more")
}

#[cfg(test)]
mod tests {
    use std::{
        sync::mpsc as std_mpsc,
        time::{Duration, Instant},
    };

    use flash_protocol::wire::envelope::Envelope;
    use futures_util::StreamExt as _;

    use super::*;
    use crate::context::{Setup, epoch_ms};

    /// Counts without end, and says how its loop ended after how many chunks.
    fn counting(told: std_mpsc::Sender<(u32, ErrorKind)>) -> impl Stream<Item = Result<u32>> + Send + use<> {
        blocking(move |sink| {
            for number in 0.. {
                if let Err(error) = sink.send(number) {
                    // The test may have ended.
                    let _ = told.send((number, error.kind()));
                    return Err(error);
                }
            }
            Ok(())
        })
    }

    fn ended(told: &std_mpsc::Receiver<(u32, ErrorKind)>) -> (u32, ErrorKind) {
        told.recv_timeout(Duration::from_secs(30)).expect("the thread ends")
    }

    #[tokio::test]
    async fn chunks_arrive_in_order_within_the_call_and_an_error_is_the_last() {
        let chunks = blocking(|sink| {
            for number in 0..100 {
                sink.send((number, Context::current().is_some()))?;
            }
            Err(Error::handler("out of words"))
        });
        let context = Context::new(Setup::default());
        let items: Vec<_> = context.scope(chunks.collect::<Vec<_>>()).await;
        assert_eq!(items.len(), 101);
        for (number, item) in items[..100].iter().enumerate() {
            assert_eq!(*item.as_ref().unwrap(), (number, true));
        }
        assert_eq!(items[100].as_ref().unwrap_err().message(), "out of words");
    }

    #[tokio::test]
    async fn a_panic_is_the_last_item() {
        let chunks = blocking(|sink| {
            sink.send(1)?;
            panic!("out of memory");
        });
        let items: Vec<_> = chunks.collect().await;
        assert_eq!(*items[0].as_ref().unwrap(), 1);
        let error = items[1].as_ref().unwrap_err();
        assert_eq!((items.len(), error.kind()), (2, ErrorKind::Panic));
        assert!(error.message().contains("out of memory"), "{error}");
    }

    #[tokio::test]
    async fn the_thread_waits_for_the_reader_and_ends_within_one_chunk_of_its_leaving() {
        let (told, tells) = std_mpsc::channel();
        let mut chunks = Box::pin(counting(told));
        for number in 0..3 {
            assert_eq!(chunks.next().await.unwrap().unwrap(), number);
        }
        drop(chunks);
        let (sent, kind) = ended(&tells);
        // The three that were read, and those ahead.
        assert!(sent <= 3 + 8, "{sent} were sent");
        assert_eq!(kind, ErrorKind::Cancelled);
    }

    /// Reads one chunk, holds the stream and waits for the end of its thread.
    async fn held(context: Context, meanwhile: impl FnOnce()) -> ErrorKind {
        let (told, tells) = std_mpsc::channel();
        let mut chunks = Box::pin(counting(told));
        let first = context.clone().scope(chunks.next()).await.unwrap();
        meanwhile();
        // The slot is free when the thread has ended.
        context.blocking().close();
        context.blocking().wait().await;
        match first {
            Ok(_) => ended(&tells).1,
            Err(error) => error.kind(),
        }
    }

    #[tokio::test]
    async fn a_waiting_thread_ends_when_its_job_is_cancelled_though_the_stream_is_held() {
        let context = Context::new(Setup::default());
        assert_eq!(held(context.clone(), || context.cancel()).await, ErrorKind::Cancelled);
    }

    #[tokio::test]
    async fn a_waiting_thread_ends_at_the_deadline_though_the_stream_is_held() {
        let soon = epoch_ms(Instant::now() + Duration::from_millis(50));
        let envelope = Envelope { deadline_ms: Some(soon), ..Envelope::default() };
        let context = Context::new(Setup { envelope, ..Setup::default() });
        assert_eq!(held(context, || ()).await, ErrorKind::Timeout);
    }

    #[tokio::test]
    async fn nothing_starts_before_it_is_read() {
        let (told, tells) = std_mpsc::channel();
        drop(counting(told));
        assert!(tells.recv().is_err(), "the closure was dropped, and with it the sender");
    }

    #[tokio::test]
    async fn a_clone_that_outlives_the_closure_does_not_hold_the_stream_open() {
        let (told, kept) = std_mpsc::channel();
        let chunks = blocking(move |sink| {
            sink.send(1)?;
            told.send(sink.clone()).expect("the test waits");
            Ok(())
        });
        let items: Vec<_> = chunks.map(Result::unwrap).collect().await;
        assert_eq!(items, [1]);
        let kept = kept.recv().unwrap();
        assert!(!kept.is_open());
        assert_eq!(kept.send(2).unwrap_err().kind(), ErrorKind::Cancelled);
    }
}
