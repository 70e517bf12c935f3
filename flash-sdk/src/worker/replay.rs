//! Streams of routes that outlive their connection, so that a client that reconnects misses no event.
//!
//! Each stream runs in a task of its own, which fills a bounded buffer. A connection reads from the buffer. The latest
//! events stay there, because what a connection has read may still be on its way to the client. A buffer full of unread
//! events pauses the stream. Which worker a client returns to is the
//! gateway's part; how events look is that of `sent_events`.
use std::{
    collections::{HashMap, VecDeque},
    pin::pin,
    sync::Arc,
    time::Duration,
};

use flash_protocol::wire::events::KeptId;
use futures_util::{
    Stream, StreamExt as _,
    stream::{self, BoxStream},
};
use parking_lot::Mutex;
use tokio::{sync::watch, time::Instant};
use uuid::Uuid;

use super::requests::Running;
use crate::descriptor::Route;

/// How long a stream goes on, and its events are kept, without a reader.
const WITHOUT_READER: Duration = Duration::from_secs(60);
/// The most bytes of events that a stream keeps, unless a single event is larger.
const MAX_BYTES: usize = 1024 * 1024;
/// The most streams whose events are kept after their end. The number of running ones is limited by that of requests.
const MAX_ENDED: usize = 64;

/// The streams of this worker. Cheap to clone.
#[derive(Clone, Default)]
pub(super) struct Replays(Arc<Mutex<HashMap<String, Kept>>>);

/// A stream with its events.
#[derive(Clone)]
struct Kept {
    route: Route,
    began: Instant,
    buffer: Arc<watch::Sender<Buffer>>,
}

/// The latest events of a stream, and who reads them.
struct Buffer {
    /// The events with their numbers, which are consecutive.
    events: VecDeque<(u64, String)>,
    /// How many to keep.
    capacity: usize,
    bytes: usize,
    /// The number of the next event.
    next: u64,
    /// The last event that a connection has read.
    read: u64,
    /// The connection that reads; `None` while there is none.
    reader: Option<u64>,
    /// How many connections there were.
    readers: u64,
    has_ended: bool,
}

/// What a connection finds.
enum Found {
    Event(String),
    Nothing,
    /// Everything was read, or another connection reads on.
    End,
}

impl Buffer {
    fn new(capacity: u32) -> Self {
        Self {
            events: VecDeque::new(),
            capacity: capacity as usize,
            bytes: 0,
            next: 1,
            read: 0,
            reader: None,
            readers: 0,
            has_ended: false,
        }
    }

    /// Whether another event may come. The events that were read have made room already.
    fn has_room(&self) -> bool {
        self.unread() < self.capacity && self.bytes < MAX_BYTES
    }

    fn unread(&self) -> usize {
        usize::try_from(self.next - 1 - self.read).unwrap_or(usize::MAX)
    }

    fn push(&mut self, event: String) {
        self.bytes += event.len();
        self.events.push_back((self.next, event));
        self.next += 1;
        self.shrink();
    }

    /// Forgets the oldest events that were read.
    fn shrink(&mut self) {
        while (self.events.len() > self.capacity || self.bytes >= MAX_BYTES)
            && let Some((number, _)) = self.events.front()
            && *number <= self.read
        {
            let forgotten = self.events.pop_front();
            self.bytes -= forgotten.map_or(0, |(_, event)| event.len());
        }
    }

    /// A connection reads on after this event; `None` if events after it are forgotten.
    fn attach(&mut self, after: u64) -> Option<u64> {
        let first = self.events.front().map_or(self.next, |(number, _)| *number);
        if after >= self.next || after + 1 < first {
            return None;
        }
        self.read = after;
        self.readers += 1;
        self.reader = Some(self.readers);
        self.reader
    }

    fn take(&mut self, reader: u64) -> Found {
        if self.reader != Some(reader) {
            return Found::End;
        }
        let at = self.events.len().checked_sub(self.unread());
        let event = at.and_then(|at| self.events.get(at));
        let Some((number, event)) = event else {
            return if self.has_ended { Found::End } else { Found::Nothing };
        };
        let event = event.clone();
        self.read = *number;
        self.shrink();
        Found::Event(event)
    }
}

impl Replays {
    /// Starts a stream and returns its events, from the first one. `texts` gets the ID of the stream.
    pub(super) fn begin<S>(
        &self,
        route: Route,
        capacity: u32,
        running: Option<Running>,
        deadline: Option<Instant>,
        texts: impl FnOnce(Arc<str>) -> S,
    ) -> BoxStream<'static, String>
    where
        S: Stream<Item = String> + Send + 'static,
    {
        let id = Uuid::new_v4().simple().to_string();
        let buffer = Arc::new(watch::Sender::new(Buffer::new(capacity)));
        let kept = Kept { route, began: Instant::now(), buffer };
        let texts = texts(id.as_str().into());
        let events = kept.read(0);
        {
            let mut streams = self.0.lock();
            forget_ended(&mut streams);
            streams.insert(id.clone(), kept.clone());
        }
        let streams = self.clone();
        // It ends by itself, at the latest when nobody has read for a while.
        tokio::spawn(async move {
            kept.produce(texts, running, deadline).await;
            streams.0.lock().remove(&id);
        });
        // The first connection always finds the first event.
        stream::iter(events).flatten().boxed()
    }

    /// The events after this one; `None` if the stream or they are gone, or the ID belongs to another route.
    pub(super) fn resume(
        &self,
        route: Route,
        last: &KeptId<'_>,
    ) -> Option<impl Stream<Item = String> + Send + use<>> {
        let kept = self.0.lock().get(last.stream).cloned()?;
        if kept.route != route {
            return None;
        }
        kept.read(last.number)
    }
}

/// Makes room for a new stream.
fn forget_ended(streams: &mut HashMap<String, Kept>) {
    let is_idle = |kept: &Kept| {
        let buffer = kept.buffer.borrow();
        buffer.has_ended && buffer.reader.is_none()
    };
    if streams.len() < MAX_ENDED {
        return;
    }
    let ended = streams.iter().filter(|(_, kept)| is_idle(kept)).min_by_key(|(_, kept)| kept.began);
    let ended = ended.map(|(id, _)| id.clone());
    if let Some(kept) = ended.and_then(|id| streams.remove(&id)) {
        // Its task waits on; the events need not.
        kept.buffer.send_modify(|buffer| buffer.events = VecDeque::new());
    }
}

/// A connection. On drop, the stream has no reader until the next one.
struct Reader {
    number: u64,
    buffer: Arc<watch::Sender<Buffer>>,
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.buffer.send_if_modified(|buffer| {
            let reads = buffer.reader == Some(self.number);
            if reads {
                buffer.reader = None;
            }
            reads
        });
    }
}

impl Kept {
    fn read(&self, after: u64) -> Option<impl Stream<Item = String> + Send + use<>> {
        let mut number = None;
        self.buffer.send_modify(|buffer| number = buffer.attach(after));
        let reader = Reader { number: number?, buffer: self.buffer.clone() };
        let changes = self.buffer.subscribe();
        Some(stream::unfold((reader, changes), |(reader, mut changes)| async {
            loop {
                changes.mark_unchanged();
                let mut found = Found::Nothing;
                reader.buffer.send_if_modified(|buffer| {
                    found = buffer.take(reader.number);
                    matches!(found, Found::Event(_))
                });
                match found {
                    Found::Event(event) => return Some((event, (reader, changes))),
                    Found::End => return None,
                    // The sender is in the reader.
                    Found::Nothing => changes.changed().await.ok()?,
                }
            }
        }))
    }

    /// Runs the stream to its end, or until nobody has read for a while. The events stay for as long again.
    ///
    /// At its deadline the stream goes on even if there is no room, because it ends then: a stream that waited for a
    /// reader would hold its slot past the time that the platform gives the request.
    async fn produce(
        &self,
        texts: impl Stream<Item = String> + Send,
        running: Option<Running>,
        deadline: Option<Instant>,
    ) {
        let mut room = self.buffer.subscribe();
        let mut abandoned = pin!(abandoned(self.buffer.subscribe()));
        let mut is_abandoned = false;
        {
            let mut texts = pin!(texts);
            loop {
                let next = async {
                    tokio::select! {
                        _ = room.wait_for(Buffer::has_room) => {}
                        () = until(deadline) => {}
                    }
                    texts.next().await
                };
                tokio::select! {
                    biased;
                    () = &mut abandoned => {
                        is_abandoned = true;
                        break;
                    }
                    next = next => match next {
                        Some(text) => self.buffer.send_modify(|buffer| buffer.push(text)),
                        None => break,
                    },
                }
            }
        }
        if let Some(running) = running {
            running.ended().await;
        }
        self.buffer.send_modify(|buffer| buffer.has_ended = true);
        if !is_abandoned {
            abandoned.await;
        }
    }
}

/// Completes at this time; never without one.
async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// Completes when nobody has read for a while.
async fn abandoned(mut buffer: watch::Receiver<Buffer>) {
    loop {
        let _ = buffer.wait_for(|buffer| buffer.reader.is_none()).await;
        let back = buffer.wait_for(|buffer| buffer.reader.is_some());
        if tokio::time::timeout(WITHOUT_READER, back).await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;
    use tokio::sync::mpsc;

    use super::*;

    fn buffer(capacity: u32, events: u64) -> Buffer {
        let mut buffer = Buffer::new(capacity);
        for number in 1..=events {
            buffer.push(number.to_string());
        }
        buffer
    }

    fn numbers(buffer: &Buffer) -> Vec<u64> {
        buffer.events.iter().map(|(number, _)| *number).collect()
    }

    #[test]
    fn a_full_buffer_waits_for_its_reader_and_forgets_what_was_read() {
        let mut buffer = buffer(3, 3);
        assert!(!buffer.has_room(), "nobody has read any");
        let reader = buffer.attach(0).unwrap();
        assert!(matches!(buffer.take(reader), Found::Event(text) if text == "1"));
        assert!(buffer.has_room());
        buffer.push("4".to_owned());
        assert_eq!(numbers(&buffer), [2, 3, 4], "the first was read");
        assert!(!buffer.has_room());
        assert!(buffer.attach(0).is_none(), "the first is gone");
        let reader = buffer.attach(1).unwrap();
        assert!(matches!(buffer.take(reader), Found::Event(text) if text == "2"));
    }

    #[test]
    fn a_client_returns_to_any_event_that_is_kept_and_to_none_that_never_was() {
        let mut buffer = buffer(3, 3);
        assert!(buffer.attach(4).is_none() && buffer.attach(u64::MAX).is_none());
        let reader = buffer.attach(3).unwrap();
        assert!(matches!(buffer.take(reader), Found::Nothing));
        let second = buffer.attach(1).unwrap();
        assert!(matches!(buffer.take(reader), Found::End), "another connection reads on");
        assert!(matches!(buffer.take(second), Found::Event(text) if text == "2"));
    }

    #[test]
    fn large_events_fill_a_buffer_too() {
        let mut buffer = Buffer::new(100);
        buffer.push("x".repeat(MAX_BYTES));
        assert!(!buffer.has_room());
        let reader = buffer.attach(0).unwrap();
        assert!(matches!(buffer.take(reader), Found::Event(_)));
        assert!(buffer.has_room());
    }

    const ROUTE: Route = Route { method: "GET", path: "/words" };

    /// A stream of what is sent, and the ID that it got.
    fn begun(replays: &Replays) -> (mpsc::UnboundedSender<&'static str>, String, BoxStream<'static, String>) {
        let (words, read) = mpsc::unbounded_channel();
        let texts = stream::unfold(read, |mut read: mpsc::UnboundedReceiver<&'static str>| async {
            Some((read.recv().await?.to_owned(), read))
        });
        let mut id = None;
        let events = replays.begin(ROUTE, 2, None, None, |stream| {
            id = Some(stream.to_string());
            texts
        });
        (words, id.unwrap(), events)
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_reconnects_misses_nothing() {
        let replays = Replays::default();
        let (words, stream, mut events) = begun(&replays);
        words.send("once").unwrap();
        words.send("upon").unwrap();
        assert_eq!(events.next().await.as_deref(), Some("once"));
        drop(events);
        words.send("a").unwrap();
        drop(words);
        let last = KeptId { number: 1, stream: &stream, worker: "" };
        let elsewhere = Route { path: "/numbers", ..ROUTE };
        assert!(replays.resume(elsewhere, &last).is_none(), "another route");
        let rest: Vec<_> = replays.resume(ROUTE, &last).unwrap().collect().await;
        assert_eq!(rest, ["upon", "a"]);
        let end = KeptId { number: 3, ..last.clone() };
        assert_eq!(
            replays.resume(ROUTE, &end).unwrap().collect::<Vec<_>>().await.len(),
            0,
            "it was read whole"
        );
        tokio::time::sleep(WITHOUT_READER * 2).await;
        assert!(replays.resume(ROUTE, &end).is_none() && replays.0.lock().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_that_nobody_returns_to_is_dropped() {
        let replays = Replays::default();
        let (words, _, mut events) = begun(&replays);
        words.send("once").unwrap();
        assert!(events.next().await.is_some());
        drop(events);
        words.closed().await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_stream_without_a_reader_ends_at_its_deadline() {
        let replays = Replays::default();
        let deadline = Instant::now() + Duration::from_secs(30);
        let (taken, mut takes) = mpsc::unbounded_channel();
        // As a guarded stream does, it ends at its deadline when it is polled.
        let texts = stream::unfold(taken, move |taken| async move {
            taken.send(()).ok()?;
            (Instant::now() < deadline).then(|| ("word".to_owned(), taken))
        });
        drop(replays.begin(ROUTE, 2, None, Some(deadline), |_| texts));
        while takes.recv().await.is_some() {}
        assert_eq!(Instant::now(), deadline);
    }

    #[tokio::test(start_paused = true)]
    async fn an_idle_stream_with_a_reader_goes_on() {
        let replays = Replays::default();
        let (words, _, mut events) = begun(&replays);
        assert!(events.next().now_or_never().is_none());
        tokio::time::sleep(WITHOUT_READER * 3).await;
        words.send("late").unwrap();
        assert_eq!(events.next().await.as_deref(), Some("late"));
    }
}
