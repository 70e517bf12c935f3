//! The bodies of a request and its answer: counted and limited, but never buffered.
use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use axum::body::Body;
use bytes::Bytes;
use flash_protocol::wire::Nesting;
use hyper::body::{Frame, SizeHint};
use parking_lot::{Mutex, MutexGuard};
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use super::super::limits::shown;

/// An answer whose sender pauses, or that is longer than this, gets a deadline. Shorter ones are sent before a client
/// could delay them.
const UNWATCHED_BYTES: usize = 64 * 1024;

/// The body of a request. It is lent to a connection and can be taken back if no connection was established.
pub(super) struct Upload(Arc<Mutex<Source>>);

struct Source {
    body: Body,
    limit: usize,
    /// Measured where the body is the JSON of a function.
    nesting: Option<Nesting>,
    passed: usize,
    state: UploadState,
}

/// How far an upload has come.
#[derive(Debug, Clone)]
pub(super) enum UploadState {
    /// Nothing has been read: it can be lent again.
    Untouched,
    Passing,
    /// The client broke it off.
    Broken(Arc<axum::Error>),
    /// It is over the limit.
    TooLarge,
    /// It is JSON that is nested too deeply to decode.
    TooDeep,
}

/// The body of a request, as lent to a connection.
pub(super) struct Lent(Arc<Mutex<Source>>);

/// The upload ends before its last byte.
#[derive(Debug, thiserror::Error)]
#[error("the request body ended early")]
pub(super) struct BrokenUpload;

impl Upload {
    /// `nesting` measures the body, where it is the JSON of a function.
    pub(super) fn new(body: Body, limit: usize, nesting: Option<Nesting>) -> Self {
        Self(Arc::new(Mutex::new(Source { body, limit, nesting, passed: 0, state: UploadState::Untouched })))
    }

    pub(super) fn lend(&self) -> Lent {
        Lent(self.0.clone())
    }

    pub(super) fn state(&self) -> UploadState {
        locked(&self.0).state.clone()
    }
}

fn locked<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock()
}

impl hyper::body::Body for Lent {
    type Data = Bytes;
    type Error = BrokenUpload;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokenUpload>>> {
        let mut source = locked(&self.0);
        let polled = Pin::new(&mut source.body).poll_frame(cx);
        let state = match &polled {
            Poll::Ready(Some(Ok(frame))) => {
                let data = frame.data_ref().map_or(&[][..], |data| data);
                source.passed += data.len();
                let is_too_deep = source.nesting.as_mut().is_some_and(|nesting| {
                    nesting.read(data);
                    nesting.is_too_deep()
                });
                if source.passed > source.limit {
                    UploadState::TooLarge
                } else if is_too_deep {
                    UploadState::TooDeep
                } else {
                    UploadState::Passing
                }
            }
            Poll::Ready(Some(Err(_))) | Poll::Ready(None) | Poll::Pending => UploadState::Passing,
        };
        source.state = state;
        match (&source.state, polled) {
            (UploadState::TooLarge | UploadState::TooDeep, _) => Poll::Ready(Some(Err(BrokenUpload))),
            (_, Poll::Ready(Some(Err(error)))) => {
                source.state = UploadState::Broken(Arc::new(error));
                Poll::Ready(Some(Err(BrokenUpload)))
            }
            (_, polled) => polled.map(|frame| frame.map(|frame| frame.map_err(|_| BrokenUpload))),
        }
    }

    fn is_end_stream(&self) -> bool {
        locked(&self.0).body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        locked(&self.0).body.size_hint()
    }
}

/// What an answer may be.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    pub bytes: usize,
    pub time: TimeLimit,
}

/// How long an answer may take.
#[derive(Debug, Clone, Copy)]
pub(super) enum TimeLimit {
    /// Until its last byte.
    Total { limit: Duration, since: Instant },
    /// Between two parts of it.
    Idle { limit: Duration },
}

impl TimeLimit {
    /// When it is over, if the last part passed at `last`.
    fn end(self, last: Instant) -> Instant {
        match self {
            Self::Total { limit, since } => since + limit,
            Self::Idle { limit } => last + limit,
        }
    }
}

/// How an answer ends.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum End {
    /// With its last byte.
    Whole,
    Cut(Cut),
}

/// Why an answer ends before its last byte.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Cut {
    Late {
        limit: Duration,
        passed: usize,
    },
    /// A stream of which nothing passed for too long.
    Silent {
        limit: Duration,
        passed: usize,
    },
    TooLarge {
        limit: usize,
    },
    /// Its sender broke off.
    Broken {
        cause: String,
        passed: usize,
    },
}

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Late { limit, passed } => {
                write!(f, "not finished within {} s, after {passed} bytes", limit.as_secs())
            }
            Self::Silent { limit, passed } => {
                write!(f, "nothing of it passed for {} s, after {passed} bytes", limit.as_secs())
            }
            Self::TooLarge { limit } => write!(f, "over {}", shown(*limit)),
            Self::Broken { cause, passed } => {
                write!(f, "the worker closed the connection after {passed} bytes: {cause}")
            }
        }
    }
}

/// The body of an answer. If it must be cut off, the connection to the client is broken, because there is no other
/// way to show that the answer is incomplete.
///
/// `keep` lives as long as the worker is busy with the answer. It is called at the answer's end, unless the client
/// disconnects before.
pub(super) struct Answer<B, K>
where
    B: hyper::body::Body,
    K: FnOnce(End),
{
    carried: Arc<Mutex<Option<Carried<B, K>>>>,
    bounds: Bounds,
    is_whole: bool,
    watch: Option<AbortOnDropHandle<()>>,
}

struct Carried<B, K> {
    body: B,
    passed: usize,
    /// When a part of it last passed.
    last: Instant,
    keep: K,
    /// The task that writes to the client; a stalled one does not poll.
    writer: Option<Waker>,
}

/// An answer was cut off; the reason is in the log.
#[derive(Debug, thiserror::Error)]
#[error("the answer was cut off")]
pub(super) struct CutOff;

impl<B, K> Answer<B, K>
where
    B: hyper::body::Body + Send + 'static,
    K: FnOnce(End) + Send + 'static,
{
    pub(super) fn new(body: B, bounds: Bounds, keep: K) -> Self {
        let carried = Carried { body, passed: 0, last: Instant::now(), keep, writer: None };
        Self { carried: Arc::new(Mutex::new(Some(carried))), bounds, is_whole: false, watch: None }
    }

    /// Ends the answer at its deadline, even if the client does not read and so nothing polls it.
    fn watch(&self) -> AbortOnDropHandle<()> {
        let (carried, time) = (self.carried.clone(), self.bounds.time);
        AbortOnDropHandle::new(tokio::spawn(async move {
            let late = loop {
                let Some(last) = locked(&carried).as_ref().map(|carried| carried.last) else { return };
                tokio::time::sleep_until(time.end(last)).await;
                let mut guard = locked(&carried);
                match guard.as_ref().is_some_and(|carried| time.end(carried.last) > Instant::now()) {
                    true => {}
                    false => break guard.take(),
                }
            };
            if let Some(Carried { body, passed, keep, writer, .. }) = late {
                // The worker's connection closes before its slot is free.
                drop(body);
                keep(End::Cut(match time {
                    TimeLimit::Total { limit, .. } => Cut::Late { limit, passed },
                    TimeLimit::Idle { limit } => Cut::Silent { limit, passed },
                }));
                writer.iter().for_each(Waker::wake_by_ref);
            }
        }))
    }
}

impl<B: hyper::body::Body, K: FnOnce(End)> Answer<B, K> {
    /// Every byte has come from the worker.
    fn end_whole(&self) {
        let whole = locked(&self.carried).take();
        if let Some(Carried { body, keep, .. }) = whole {
            drop(body);
            keep(End::Whole);
        }
    }
}

impl<B: hyper::body::Body, K: FnOnce(End)> Drop for Answer<B, K> {
    fn drop(&mut self) {
        // A body of known length is not polled after its last byte.
        let is_whole = locked(&self.carried).as_ref().is_some_and(|carried| carried.body.is_end_stream());
        if is_whole {
            self.end_whole();
        }
    }
}

impl<B, K> hyper::body::Body for Answer<B, K>
where
    B: hyper::body::Body<Data = Bytes, Error: fmt::Display> + Unpin + Send + 'static,
    K: FnOnce(End) + Send + Unpin + 'static,
{
    type Data = Bytes;
    type Error = CutOff;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, CutOff>>> {
        if self.is_whole {
            return Poll::Ready(None);
        }
        let mut guard = locked(&self.carried);
        let Some(carried) = guard.as_mut() else { return Poll::Ready(Some(Err(CutOff))) };
        let polled = Pin::new(&mut carried.body).poll_frame(cx);
        let cut = match &polled {
            Poll::Ready(Some(Ok(frame))) => {
                carried.passed += frame.data_ref().map_or(0, Bytes::len);
                carried.last = Instant::now();
                (carried.passed > self.bounds.bytes).then_some(Cut::TooLarge { limit: self.bounds.bytes })
            }
            Poll::Ready(Some(Err(error))) => {
                Some(Cut::Broken { cause: error.to_string(), passed: carried.passed })
            }
            Poll::Ready(None) => None,
            Poll::Pending => {
                carried.writer = Some(cx.waker().clone());
                None
            }
        };
        let to_watch = polled.is_pending() || carried.passed > UNWATCHED_BYTES;
        if let Some(cut) = cut {
            if let Some(Carried { body, keep, .. }) = guard.take() {
                drop(guard);
                drop(body);
                keep(End::Cut(cut));
            }
            return Poll::Ready(Some(Err(CutOff)));
        }
        if matches!(polled, Poll::Ready(None)) {
            drop(guard);
            self.is_whole = true;
            self.end_whole();
            return Poll::Ready(None);
        }
        drop(guard);
        if to_watch && self.watch.is_none() {
            self.watch = Some(self.watch());
        }
        polled.map(|frame| frame.map(|frame| frame.map_err(|_| CutOff)))
    }

    fn is_end_stream(&self) -> bool {
        locked(&self.carried).as_ref().is_some_and(|carried| carried.body.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        locked(&self.carried).as_ref().map_or_else(SizeHint::default, |carried| carried.body.size_hint())
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;
    use tokio::sync::{mpsc, oneshot};

    use super::*;

    /// A body that the test feeds.
    struct Fed(mpsc::Receiver<Result<&'static [u8], &'static str>>);

    impl hyper::body::Body for Fed {
        type Data = Bytes;
        type Error = &'static str;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, &'static str>>> {
            self.0
                .poll_recv(cx)
                .map(|fed| fed.map(|fed| fed.map(|data| Frame::data(Bytes::from_static(data)))))
        }
    }

    type Feed = mpsc::Sender<Result<&'static [u8], &'static str>>;

    /// An answer of at most ten bytes in 330 s, and the receiver of its end: an error if `keep` is dropped.
    fn answer() -> (Feed, Answer<Fed, impl FnOnce(End) + Send + Unpin>, oneshot::Receiver<Cut>) {
        let time = TimeLimit::Total { limit: Duration::from_secs(330), since: Instant::now() };
        answer_within(time)
    }

    fn answer_within(
        time: TimeLimit,
    ) -> (Feed, Answer<Fed, impl FnOnce(End) + Send + Unpin>, oneshot::Receiver<Cut>) {
        let (feed, fed) = mpsc::channel(8);
        let (cut_off, cut) = oneshot::channel();
        let keep = move |end| {
            if let End::Cut(cut) = end {
                let _ = cut_off.send(cut);
            }
        };
        let bounds = Bounds { bytes: 10, time };
        (feed, Answer::new(Fed(fed), bounds, keep), cut)
    }

    #[tokio::test]
    async fn chunks_pass_one_by_one_and_the_end_lets_the_worker_go() {
        let (feed, mut answer, cut) = answer();
        for chunk in [b"a", b"b"] {
            feed.send(Ok(chunk)).await.unwrap();
            let passed = answer.frame().await.unwrap().unwrap().into_data().unwrap();
            assert_eq!(&passed[..], chunk);
        }
        drop(feed);
        assert!(answer.frame().await.is_none());
        assert!(answer.frame().await.is_none(), "it stays at its end");
        drop(answer);
        assert!(cut.await.is_err(), "nothing was cut off");
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_is_cut_off_when_its_time_is_over_in_the_middle() {
        let (feed, mut answer, cut) = answer();
        feed.send(Ok(b"a")).await.unwrap();
        answer.frame().await.unwrap().unwrap();
        assert!(answer.frame().await.unwrap().is_err());
        assert_eq!(cut.await, Ok(Cut::Late { limit: Duration::from_secs(330), passed: 1 }));
        assert!(feed.is_closed(), "the worker's connection ends too");
        assert!(!hyper::body::Body::is_end_stream(&answer), "the client must not take it for the end");
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_may_last_but_not_be_silent_for_long() {
        let limit = Duration::from_secs(330);
        let (feed, mut answer, cut) = answer_within(TimeLimit::Idle { limit });
        for _ in 0..5 {
            let fed = async {
                tokio::time::sleep(Duration::from_secs(300)).await;
                feed.send(Ok(b"a")).await.unwrap();
            };
            let (_, frame) = tokio::join!(fed, answer.frame());
            frame.unwrap().unwrap();
        }
        let silent = Instant::now();
        assert!(answer.frame().await.unwrap().is_err());
        assert_eq!(silent.elapsed().as_secs(), 330);
        assert_eq!(cut.await, Ok(Cut::Silent { limit, passed: 5 }));
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_reads_nothing_holds_the_worker_no_longer_than_the_limit() {
        let (feed, mut answer, cut) = answer();
        let next = std::future::poll_fn(|cx| {
            let polled = hyper::body::Body::poll_frame(Pin::new(&mut answer), cx);
            Poll::Ready(polled.is_pending())
        });
        assert!(next.await);
        // From now on nothing polls.
        assert!(matches!(cut.await, Ok(Cut::Late { .. })));
        feed.closed().await;
    }

    #[tokio::test]
    async fn an_answer_over_the_limit_is_cut_off() {
        let (feed, mut answer, cut) = answer();
        feed.send(Ok(b"0123456789")).await.unwrap();
        feed.send(Ok(b"0")).await.unwrap();
        assert!(answer.frame().await.unwrap().is_ok());
        assert!(answer.frame().await.unwrap().is_err());
        assert_eq!(cut.await, Ok(Cut::TooLarge { limit: 10 }));
    }

    #[tokio::test]
    async fn a_worker_that_breaks_off_breaks_the_answer_off() {
        let (feed, mut answer, cut) = answer();
        feed.send(Ok(b"abc")).await.unwrap();
        feed.send(Err("reset")).await.unwrap();
        assert!(answer.frame().await.unwrap().is_ok());
        assert!(answer.frame().await.unwrap().is_err());
        assert_eq!(cut.await, Ok(Cut::Broken { cause: "reset".into(), passed: 3 }));
    }

    #[tokio::test]
    async fn an_upload_that_no_connection_took_is_lent_again_whole() {
        let upload = Upload::new(Body::from("body"), 10, None);
        drop(upload.lend());
        assert!(matches!(upload.state(), UploadState::Untouched));
        assert_eq!(upload.lend().collect().await.unwrap().to_bytes(), "body");
        assert!(matches!(upload.state(), UploadState::Passing));
    }

    #[tokio::test]
    async fn an_upload_over_the_limit_stops_there() {
        let chunks = ["01234", "56789", "0", "rest"].map(Ok::<_, std::convert::Infallible>);
        let upload = Upload::new(Body::from_stream(futures_util::stream::iter(chunks)), 10, None);
        assert!(upload.lend().collect().await.is_err());
        assert!(matches!(upload.state(), UploadState::TooLarge));
    }

    #[tokio::test]
    async fn an_upload_of_json_that_nobody_decodes_stops_there() {
        for (levels, is_too_deep) in [(127, false), (128, true)] {
            let chunks = vec![Ok::<_, std::convert::Infallible>("["); levels];
            let body = Body::from_stream(futures_util::stream::iter(chunks));
            let upload = Upload::new(body, 1000, Some(Nesting::default()));
            assert_eq!(upload.lend().collect().await.is_err(), is_too_deep, "{levels}");
            assert_eq!(matches!(upload.state(), UploadState::TooDeep), is_too_deep, "{levels}");
        }
    }
}
