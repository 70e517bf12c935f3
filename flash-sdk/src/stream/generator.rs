//! A stream that is written as an async block, so that it may borrow from what the block owns.
use std::{
    pin::pin,
    sync::Arc,
    task::Poll::{Pending, Ready},
};

use flash_protocol::Result;
use futures_util::{Stream, StreamExt as _, future::poll_fn, stream};
use parking_lot::Mutex;

/// Where the block puts its chunks.
pub struct Yielder<T> {
    /// The chunk that the stream returns next.
    next: Arc<Mutex<Option<T>>>,
}

/// The chunks that `run` sends. Its error is the last item.
pub fn generated<T, F>(run: impl FnOnce(Yielder<T>) -> F) -> impl Stream<Item = Result<T>>
where
    F: Future<Output = Result<()>>,
{
    let next = Arc::new(Mutex::new(None));
    let mut running = Some(Box::pin(run(Yielder { next: next.clone() })));
    stream::poll_fn(move |cx| {
        let Some(block) = &mut running else { return Ready(None) };
        match block.as_mut().poll(cx) {
            Ready(outcome) => {
                running = None;
                Ready(outcome.err().map(Err))
            }
            Pending => next.lock().take().map_or(Pending, |chunk| Ready(Some(Ok(chunk)))),
        }
    })
}

impl<T> Yielder<T> {
    /// Sends a chunk; goes on when the next one is asked for.
    pub(super) async fn send(&self, chunk: T) {
        *self.next.lock() = Some(chunk);
        // The stream takes the chunk when this is pending, and polls again for the next: nothing else wakes it.
        poll_fn(|_| if self.next.lock().is_none() { Ready(()) } else { Pending }).await;
    }

    /// Sends the chunks of a stream up to its first error.
    ///
    /// # Errors
    /// The first error.
    pub async fn forward(&self, chunks: impl Stream<Item = Result<T>>) -> Result<()> {
        let mut chunks = pin!(chunks);
        while let Some(chunk) = chunks.next().await {
            self.send(chunk?).await;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use flash_protocol::Error;

    use super::*;

    #[tokio::test]
    async fn a_block_sends_what_it_borrows_from_its_own_values() {
        let chunks = generated(|yielder| async move {
            let text = "a b c".to_owned();
            tokio::task::yield_now().await;
            let words = stream::iter(text.split(' ')).then(|word| async move {
                tokio::task::yield_now().await;
                Ok(word.to_uppercase())
            });
            yielder.forward(words).await
        });
        let chunks: Vec<_> = chunks.map(Result::unwrap).collect().await;
        assert_eq!(chunks, ["A", "B", "C"]);
    }

    #[tokio::test]
    async fn an_error_is_the_last_item_and_nothing_runs_after_it() {
        let chunks = generated(|yielder| async move {
            yielder.send(1).await;
            yielder.forward(stream::iter([Ok(2), Err(Error::handler("full")), Ok(3)])).await?;
            unreachable!("the block ended");
        });
        let mut chunks = pin!(chunks);
        let mut seen = Vec::new();
        while let Some(chunk) = chunks.next().await {
            seen.push(chunk.map_err(|error| error.message().to_owned()));
        }
        assert_eq!(seen, [Ok(1), Ok(2), Err("full".to_owned())]);
        assert!(chunks.next().await.is_none(), "it can be asked again");
    }
}
