//! The answer of a route that streams: server-sent events with IDs, and comments while nothing happens.
use std::{convert::Infallible, sync::Arc};

use axum::{
    body::Body,
    response::{IntoResponse as _, Response},
};
use flash_protocol::{
    Error, ErrorKind, Result, WireError,
    wire::{
        RawJson,
        events::{self, Head, KeptId, NamedChunk},
    },
};
use futures_util::{Stream, StreamExt as _, stream};
use http::header;
use serde_json::value::RawValue;

use super::requests::Running;
use crate::{context::Context, stream::Guarded};

/// Whether chunks say how their events look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Chunks {
    Plain,
    Named,
}

/// The IDs of events that do not say their own.
#[derive(Debug, Clone)]
pub(super) enum Ids {
    /// From 1.
    Numbers,
    /// Those of a stream that is kept for a client that reconnects.
    Kept { stream: Arc<str>, worker: Arc<str> },
}

/// The events of the chunks. A failure is the last one, with its own name and what `failed` makes of it.
pub(super) fn texts(
    chunks: Guarded<RawJson>,
    kind: Chunks,
    ids: Ids,
    context: Context,
    failed: impl Fn(Error, &Context) -> WireError + Send + Sync + 'static,
) -> impl Stream<Item = String> + Send + 'static {
    let failed = Arc::new(failed);
    chunks.scan(Some(0_u64), move |number, chunk| {
        // An event that cannot be sent is the last one, and the rest of the stream is not read.
        let text = number.map(|last| {
            let text = chunk.and_then(|chunk| text_of(kind, &ids, last + 1, &chunk));
            *number = text.is_ok().then_some(last + 1);
            text.unwrap_or_else(|error| {
                events::error(&context.clone().sync_scope(|| failed(error, &context)))
            })
        });
        std::future::ready(text)
    })
}

/// Answers with these events. The request runs until they end.
pub(super) fn answer(
    texts: impl Stream<Item = String> + Send + 'static,
    running: Option<Running>,
) -> Response {
    // The answer holds its slot until here, so its end waits for threads that still run.
    let end = stream::once(async move {
        if let Some(running) = running {
            running.ended().await;
        }
        None
    });
    let texts = kept_alive(texts.chain(end.filter_map(std::future::ready)));
    let headers = [(header::CONTENT_TYPE, events::CONTENT_TYPE), (header::CACHE_CONTROL, "no-cache")];
    (headers, Body::from_stream(texts.map(Ok::<_, Infallible>))).into_response()
}

fn text_of(kind: Chunks, ids: &Ids, number: u64, chunk: &RawJson) -> Result<String> {
    let number = match ids {
        Ids::Numbers => number.to_string(),
        Ids::Kept { stream, worker } => KeptId { number, stream, worker }.to_string(),
    };
    if kind == Chunks::Plain {
        return Ok(events::event(&Head { id: Some(&number), ..Head::default() }, chunk));
    }
    let not_named = |error| Error::new(ErrorKind::Encode, format!("a chunk is not an event: {error}"));
    let named: NamedChunk<Box<RawValue>> = serde_json::from_str(chunk.get()).map_err(not_named)?;
    if named.event.as_deref() == Some(events::ERROR) {
        let message = "an event cannot be named `error`, because that is how a stream says that it failed: choose \
                       another name, or return the error";
        return Err(Error::new(ErrorKind::Encode, message));
    }
    if named.id.is_some() && matches!(ids, Ids::Kept { .. }) {
        let message = "an event of a route with `replay` cannot have an ID of its own, because its ID tells where the \
                       client has stopped: remove `with_id`, or `replay`";
        return Err(Error::new(ErrorKind::Encode, message));
    }
    let head = Head {
        name: named.event.as_deref(),
        id: Some(named.id.as_deref().unwrap_or(&number)),
        retry: named.retry_ms.map(std::time::Duration::from_millis),
    };
    Ok(events::event(&head, &named.data))
}

/// Adds a comment whenever nothing was sent for a while.
fn kept_alive(texts: impl Stream<Item = String> + Send + 'static) -> impl Stream<Item = String> + Send {
    stream::unfold(texts.boxed(), |mut texts| async {
        match tokio::time::timeout(events::KEEP_ALIVE_AFTER, texts.next()).await {
            Ok(text) => Some((text?, texts)),
            Err(_) => Some((events::KEEP_ALIVE.to_owned(), texts)),
        }
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn json(text: &str) -> RawJson {
        RawValue::from_string(text.to_owned()).unwrap()
    }

    #[test]
    fn chunks_are_numbered_and_named_ones_look_as_they_say() {
        assert_eq!(
            text_of(Chunks::Plain, &Ids::Numbers, 3, &json("{\"data\":1}")).unwrap(),
            "id: 3\ndata: {\"data\":1}\n\n"
        );
        let named = json(r#"{"data": [1], "event": "token", "id": "a", "retry_ms": 5}"#);
        let text = "id: a\nevent: token\nretry: 5\ndata: [1]\n\n";
        assert_eq!(text_of(Chunks::Named, &Ids::Numbers, 3, &named).unwrap(), text);
        assert_eq!(
            text_of(Chunks::Named, &Ids::Numbers, 3, &json(r#"{"data":1}"#)).unwrap(),
            "id: 3\ndata: 1\n\n"
        );
        let refused =
            text_of(Chunks::Named, &Ids::Numbers, 3, &json(r#"{"data":1,"event":"error"}"#)).unwrap_err();
        assert!(refused.message().contains("cannot be named `error`"), "{refused}");
    }

    #[tokio::test(start_paused = true)]
    async fn silence_is_broken_every_15_seconds() {
        let began = tokio::time::Instant::now();
        let texts = stream::once(async {
            tokio::time::sleep(Duration::from_secs(40)).await;
            "late".to_owned()
        });
        let texts: Vec<_> = kept_alive(texts).map(|text| (began.elapsed().as_secs(), text)).collect().await;
        assert_eq!(texts, [(15, ":\n\n".into()), (30, ":\n\n".into()), (40, "late".to_owned())]);
    }
}
