//! The way of what is generated to its reader: bounded, and it tells when the reader is gone or slow.
use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Instant,
};

use flash_openai::{End, Generated, ModelError, Piece};
use futures_util::Stream;
use tokio::sync::mpsc::{Receiver, Sender, channel};

use super::wake::Wake;

/// Pieces that wait for a slow reader. Then its generation pauses.
pub(super) const AHEAD: usize = 16;
/// Room for the last piece and the end: an answer that is done holds no memory of the model.
const FOR_THE_END: usize = 2;
/// Room for the word that it has begun.
const FOR_THE_BEGINNING: usize = 1;

/// The side of the model.
#[derive(Debug)]
pub(crate) struct Reply {
    sender: Sender<Result<Generated, ModelError>>,
}

/// The side of the reader. Dropping it cancels the generation.
#[derive(Debug)]
pub(crate) struct Answer {
    receiver: Receiver<Result<Generated, ModelError>>,
    wake: Arc<Wake>,
    ended: bool,
}

pub(super) fn reply(wake: &Arc<Wake>) -> (Reply, Answer) {
    let (sender, receiver) = channel(AHEAD + FOR_THE_END + FOR_THE_BEGINNING);
    (Reply { sender }, Answer { receiver, wake: Arc::clone(wake), ended: false })
}

impl Reply {
    /// Nobody reads any more.
    pub(super) fn is_gone(&self) -> bool {
        self.sender.is_closed()
    }

    /// Whether the reader keeps up.
    pub(super) fn can_take(&self) -> bool {
        self.sender.capacity() > FOR_THE_END
    }

    pub(super) fn begun(&self) {
        self.send(Ok(Generated::Begun(Instant::now())));
    }

    pub(super) fn piece(&self, piece: Piece) {
        self.send(Ok(Generated::Piece(piece)));
    }

    pub(super) fn end(&self, end: End) {
        self.send(Ok(Generated::End(end)));
    }

    pub(super) fn fail(&self, error: ModelError) {
        self.send(Err(error));
    }

    fn send(&self, item: Result<Generated, ModelError>) {
        // There is room by `can_take`; a reader that is gone is noticed before the next turn.
        let _ = self.sender.try_send(item);
    }
}

impl Stream for Answer {
    type Item = Result<Generated, ModelError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let item = ready!(self.receiver.poll_recv(context));
        // The model may have paused for this reader.
        self.wake.wake();
        let item =
            item.unwrap_or_else(|| Err(ModelError::internal("the model stopped before the answer ended")));
        self.ended = matches!(item, Ok(Generated::End(_)) | Err(_));
        Poll::Ready(Some(item))
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        self.receiver.close();
        self.wake.wake();
    }
}
