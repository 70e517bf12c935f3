//! The body of a request, as its handler reads it.
use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use parking_lot::{Mutex, MutexGuard};
use tokio::time::{Instant, Sleep, sleep};

use super::BODY_PAUSE;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A body whose sender must not pause for too long while it is read.
pub struct Received<B>(Arc<Mutex<Source<B>>>);

/// The part of a body that has not been read.
pub struct Rest<B>(Arc<Mutex<Source<B>>>);

struct Source<B> {
    body: B,
    /// Runs while a reader waits.
    pause: Option<Pin<Box<Sleep>>>,
    is_asked_for: bool,
}

/// No data of the body arrived in time.
#[derive(Debug, thiserror::Error)]
#[error("no data received for {} s", BODY_PAUSE.as_secs())]
pub(crate) struct Stalled;

impl<B> Received<B> {
    /// The body, and what will be left of it when it is dropped.
    pub fn new(body: B) -> (Self, Rest<B>) {
        let source = Arc::new(Mutex::new(Source { body, pause: None, is_asked_for: false }));
        (Self(source.clone()), Rest(source))
    }
}

impl<B> Rest<B> {
    /// Whether any of the body was read. After that, a client that waits for `100 Continue` sends it.
    pub fn is_asked_for(&self) -> bool {
        locked(&self.0).is_asked_for
    }

    /// The rest of the body.
    pub fn into_body(self) -> Received<B> {
        Received(self.0)
    }
}

fn locked<B>(source: &Mutex<Source<B>>) -> MutexGuard<'_, Source<B>> {
    source.lock()
}

impl<B> Body for Received<B>
where
    B: Body<Data = Bytes, Error: Into<BoxError>> + Unpin,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let mut source = locked(&self.0);
        source.is_asked_for = true;
        if let Poll::Ready(frame) = Pin::new(&mut source.body).poll_frame(cx) {
            source.pause = None;
            return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
        }
        let pause = source.pause.get_or_insert_with(|| Box::pin(sleep(BODY_PAUSE)));
        match pause.as_mut().poll(cx) {
            Poll::Ready(()) => {
                // A new read starts a new wait.
                pause.as_mut().reset(Instant::now() + BODY_PAUSE);
                Poll::Ready(Some(Err(Box::new(Stalled))))
            }
            Poll::Pending => Poll::Pending,
        }
    }

    fn is_end_stream(&self) -> bool {
        locked(&self.0).body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        locked(&self.0).body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use std::{convert::Infallible, time::Duration};

    use http_body_util::{BodyExt as _, StreamBody};
    use tokio::sync::mpsc;

    use super::*;

    type Fed = Pin<Box<dyn Body<Data = Bytes, Error = Infallible> + Send>>;

    fn fed() -> (mpsc::Sender<&'static str>, Fed) {
        let (feed, receiver) = mpsc::channel(8);
        let frames = futures_util::stream::unfold(receiver, |mut receiver| async move {
            let text: &str = receiver.recv().await?;
            Some((Ok(Frame::data(Bytes::from_static(text.as_bytes()))), receiver))
        });
        (feed, Box::pin(StreamBody::new(frames)))
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_body_arrives_and_one_that_stops_is_told_of() {
        let (feed, body) = fed();
        let (mut body, _rest) = Received::new(body);
        let sending = tokio::spawn(async move {
            for _ in 0..10 {
                sleep(BODY_PAUSE - Duration::from_secs(1)).await;
                feed.send("x").await.unwrap();
            }
            feed
        });
        for _ in 0..10 {
            assert!(body.frame().await.unwrap().is_ok());
        }
        let _feed = sending.await.unwrap();
        let began = Instant::now();
        let error = body.frame().await.unwrap().unwrap_err();
        assert!(error.is::<Stalled>(), "{error}");
        assert_eq!(began.elapsed().as_secs(), BODY_PAUSE.as_secs());
    }

    #[tokio::test(start_paused = true)]
    async fn time_that_nobody_waits_does_not_count() {
        let (feed, body) = fed();
        let (mut body, _rest) = Received::new(body);
        for text in ["a", "b"] {
            sleep(BODY_PAUSE * 3).await;
            feed.send(text).await.unwrap();
            assert!(body.frame().await.unwrap().is_ok());
        }
    }

    #[tokio::test]
    async fn the_rest_is_what_was_not_read_and_says_whether_anything_was() {
        let (feed, body) = fed();
        let (mut body, rest) = Received::new(body);
        assert!(!rest.is_asked_for());
        feed.send("a").await.unwrap();
        feed.send("b").await.unwrap();
        drop(feed);
        body.frame().await.unwrap().unwrap();
        drop(body);
        assert!(rest.is_asked_for());
        assert_eq!(rest.into_body().collect().await.unwrap().to_bytes(), "b");
    }
}
