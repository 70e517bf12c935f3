//! Requests as frames on the exchange of their worker, instead of HTTP on a connection of its own.
use std::{collections::HashMap, sync::Arc};

use flash_protocol::wire::exchange::{AnswerFrame, FrameFormat, RequestFrame, ToWorker, Writer};
use http::HeaderValue;
use parking_lot::Mutex;
use tokio::sync::oneshot;

/// The exchange of a worker that knows its requests by their slots. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Exchange {
    frames: Writer<ToWorker>,
    /// For requests to the worker's port.
    key: HeaderValue,
    /// `None` once the connection has ended.
    waiting: Arc<Mutex<Option<Waiting>>>,
}

/// Requests without an answer, by slot.
type Waiting = HashMap<u64, oneshot::Sender<Answered>>;

/// How a worker answers a request.
pub(crate) enum Answered {
    /// With all of the answer.
    Whole(AnswerFrame),
    /// It is to be fetched over HTTP, at this path.
    Parked(String),
    /// The worker is ending and has seen nothing of it.
    NotTaken,
}

/// A request that was sent. Dropped, its answer is ignored.
pub(crate) struct Sent {
    exchange: Exchange,
    slot: u64,
    answer: oneshot::Receiver<Answered>,
}

impl Exchange {
    /// Of a worker whose frames go here, and whose port asks for this key.
    pub(crate) fn new(frames: Writer<ToWorker>, key: HeaderValue) -> Self {
        Self { frames, key, waiting: Arc::new(Mutex::new(Some(HashMap::new()))) }
    }

    /// What its port asks for.
    pub(crate) fn key(&self) -> &HeaderValue {
        &self.key
    }

    /// Whether the worker takes requests as frames.
    pub(crate) fn takes_requests(&self) -> bool {
        self.frames.format() == FrameFormat::Short
    }

    /// Sends a request; `None` if the connection has ended, so that the worker has seen nothing of it.
    pub(crate) fn send(&self, request: RequestFrame) -> Option<Sent> {
        let (slot, (sender, answer)) = (request.slot, oneshot::channel());
        self.waiting.lock().as_mut()?.insert(slot, sender);
        let sent = Sent { exchange: self.clone(), slot, answer };
        self.frames.send(ToWorker::Request(request)).then_some(sent)
    }

    /// The worker has answered. Ignored if nobody waits any more.
    pub(crate) fn answered(&self, slot: u64, answer: Answered) {
        let waiting = self.waiting.lock().as_mut().and_then(|all| all.remove(&slot));
        if let Some(waiting) = waiting {
            // Its client has just disconnected.
            let _ = waiting.send(answer);
        }
    }

    /// Asks for a word when nothing of the request in this slot runs any more; `false` if the connection has ended.
    pub(super) fn release(&self, slot: u64) -> bool {
        self.frames.send(ToWorker::Release(slot))
    }

    /// The connection has ended: requests that were sent will not be answered.
    pub(crate) fn ended(&self) {
        self.waiting.lock().take();
    }
}

impl Sent {
    /// Waits for the answer; `None` if the connection ends before.
    pub(crate) async fn answer(mut self) -> Option<Answered> {
        (&mut self.answer).await.ok()
    }
}

impl Drop for Sent {
    fn drop(&mut self) {
        if let Some(waiting) = self.exchange.waiting.lock().as_mut() {
            waiting.remove(&self.slot);
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use flash_protocol::wire::exchange::{self, Fields};

    use super::*;

    fn request(slot: u64) -> RequestFrame {
        let (method, target) = ("GET".to_owned(), "/".to_owned());
        RequestFrame { slot, method, target, headers: Fields::default(), body: Bytes::new() }
    }

    fn answer(slot: u64, status: u16) -> Answered {
        Answered::Whole(AnswerFrame { slot, status, headers: Fields::default(), body: Bytes::new() })
    }

    #[tokio::test]
    async fn each_request_gets_its_own_answer() {
        let (frames, _queued) = exchange::queue(FrameFormat::Short);
        let exchange = Exchange::new(frames, HeaderValue::from_static("key"));
        let [one, two] = [1, 2].map(|slot| exchange.send(request(slot)).unwrap());
        exchange.answered(2, answer(2, 202));
        exchange.answered(3, answer(3, 203));
        exchange.answered(1, answer(1, 201));
        for (sent, expected) in [(one, 201), (two, 202)] {
            let Some(Answered::Whole(answer)) = sent.answer().await else { panic!("no answer") };
            assert_eq!(answer.status, expected);
        }
        assert!(exchange.waiting.lock().as_ref().unwrap().is_empty());
    }

    #[tokio::test]
    async fn nothing_is_kept_of_a_request_that_was_given_up_or_never_sent() {
        let (frames, queued) = exchange::queue(FrameFormat::Short);
        let exchange = Exchange::new(frames, HeaderValue::from_static("key"));
        drop(exchange.send(request(1)).unwrap());
        exchange.answered(1, answer(1, 200));
        drop(queued);
        assert!(exchange.send(request(2)).is_none());
        assert!(exchange.waiting.lock().as_ref().unwrap().is_empty());
    }

    #[tokio::test]
    async fn the_end_of_the_connection_ends_all_waiting() {
        let (frames, _queued) = exchange::queue(FrameFormat::Short);
        let exchange = Exchange::new(frames, HeaderValue::from_static("key"));
        let sent = exchange.send(request(1)).unwrap();
        exchange.ended();
        assert!(sent.answer().await.is_none());
        assert!(exchange.send(request(2)).is_none());
    }

    #[test]
    fn only_a_worker_that_reads_short_frames_takes_requests() {
        let takes = |format| {
            Exchange::new(exchange::queue(format).0, HeaderValue::from_static("key")).takes_requests()
        };
        let all = [FrameFormat::Json, FrameFormat::Attachments, FrameFormat::Short];
        assert_eq!(all.map(takes), [false, false, true]);
    }
}
