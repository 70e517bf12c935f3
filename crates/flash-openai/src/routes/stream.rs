//! Answers as server-sent events.
//!
//! Nothing is produced ahead of the client: the next item of a model is asked for when the connection takes more. A
//! client that goes away drops the stream, and with it the generation.
use std::collections::VecDeque;

use axum::{
    body::Body,
    http::header,
    response::{IntoResponse as _, Response},
};
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use serde_json::Value;

use super::running::{Running, no_end};
use crate::{
    answer::{Form, Heading},
    error::ApiError,
    model::{Generated, ModelError},
    request::UsageInStream,
};

const DONE: &[u8] = b"data: [DONE]\n\n";

/// The answer, once the model has begun: an error before that has a status of its own, so that a client whose request
/// found no room sends it again.
pub(super) async fn begin<F: Form + 'static>(
    mut running: Running,
    heading: Heading,
    usage: UsageInStream,
) -> Result<Response, ApiError>
where
    F::Choice: Send,
{
    let first = match running.items.next().await {
        Some((_, Err(error))) => return Err(error.into()),
        first => first,
    };
    let mut chunks = Chunks::<F>::new(running, heading, usage);
    chunks.take(first);
    let frames = stream::unfold(chunks, |mut chunks| async move {
        let frame = chunks.next().await?;
        Some((Ok::<_, std::convert::Infallible>(frame), chunks))
    });
    let headers = [(header::CONTENT_TYPE, "text/event-stream"), (header::CACHE_CONTROL, "no-cache")];
    Ok((headers, Body::from_stream(frames)).into_response())
}

/// Makes frames of items.
struct Chunks<F: Form> {
    running: Running,
    heading: Heading,
    usage: UsageInStream,
    choices: Vec<F::Choice>,
    /// Choices that have not ended.
    open: usize,
    /// What the items so far came to.
    ready: VecDeque<Bytes>,
    is_over: bool,
}

impl<F: Form> Chunks<F> {
    fn new(running: Running, heading: Heading, usage: UsageInStream) -> Self {
        let count = running.choices;
        let choices = std::iter::repeat_with(F::Choice::default).take(count).collect();
        let mut chunks =
            Self { running, heading, usage, choices, open: count, ready: VecDeque::new(), is_over: false };
        for begin in (0..count).filter_map(F::begin) {
            chunks.push_chunk(begin);
        }
        chunks
    }

    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if let Some(frame) = self.ready.pop_front() {
                return Some(frame);
            }
            if self.is_over {
                return None;
            }
            let item = self.running.items.next().await;
            self.take(item);
        }
    }

    fn take(&mut self, item: Option<(usize, Result<Generated, ModelError>)>) {
        match item {
            Some((index, Ok(item))) => {
                self.running.totals.count(index, &item);
                self.take_item(index, &item);
            }
            Some((_, Err(error))) => self.fail(error),
            None if self.open > 0 => self.fail(no_end()),
            None => self.finish(),
        }
    }

    fn take_item(&mut self, index: usize, item: &Generated) {
        match item {
            Generated::Begun(_) => {}
            // Held back text: nothing to show yet.
            Generated::Piece(piece) if piece.text.is_empty() && piece.logprobs.is_empty() => {}
            Generated::Piece(piece) => {
                let logprobs = self.running.has_logprobs.then_some(piece.logprobs.as_slice());
                let choice = F::piece(&mut self.choices[index], index, &piece.text, logprobs);
                self.push_chunk(choice);
            }
            Generated::End(end) => {
                self.open = self.open.saturating_sub(1);
                self.push_chunk(F::end(index, end.finish_reason));
            }
        }
    }

    fn push_chunk(&mut self, choice: Value) {
        let mut chunk = self.heading.answer(F::CHUNK, vec![choice]);
        match self.usage {
            UsageInStream::Never => {}
            UsageInStream::AtEnd => chunk["usage"] = Value::Null,
            UsageInStream::Always => chunk["usage"] = self.running.totals.to_json(),
        }
        self.ready.push_back(frame(&chunk));
    }

    fn finish(&mut self) {
        if self.usage != UsageInStream::Never {
            let mut last = self.heading.answer(F::CHUNK, Vec::new());
            last["usage"] = self.running.totals.to_json();
            self.ready.push_back(frame(&last));
        }
        self.ready.push_back(Bytes::from_static(DONE));
        self.is_over = true;
    }

    /// The status is long gone; clients raise what stands in the stream. The other choices are cancelled.
    fn fail(&mut self, error: ModelError) {
        self.ready.push_back(frame(&ApiError::from(error).body()));
        self.running.items.clear();
        self.is_over = true;
    }
}

fn frame(value: &Value) -> Bytes {
    format!("data: {value}\n\n").into()
}
