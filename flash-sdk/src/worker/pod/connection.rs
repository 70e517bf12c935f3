//! The connection: frames in both directions, and a limit to what waits to be written, so that a worker that writes faster
//! than the connection takes it is held up like one at a full pipe.
use std::time::Duration;

use flash_protocol::wire::pod::{FromPod, MAX_FRAME_BYTES, PROTOCOL, PodEvent, ToPod};
use futures_util::{SinkExt as _, StreamExt as _, stream::SplitStream};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::sync::{mpsc, oneshot};
use tokio_util::codec::{Framed, LengthDelimitedCodec};

use super::super::upgrade;

/// How long the platform may take to accept the connection.
const CONNECT: Duration = Duration::from_secs(10);
/// How many frames of output may wait.
const WAITING: usize = 64;
/// How long the last frames may take.
const LAST: Duration = Duration::from_secs(5);

type Stream = Framed<TokioIo<Upgraded>, LengthDelimitedCodec>;

/// See the module.
pub(super) struct Connection {
    pub sender: Sender,
    pub frames: Frames,
}

/// Sends frames. Cheap to clone.
#[derive(Clone)]
pub(super) struct Sender {
    /// Output waits for room.
    output: mpsc::Sender<Message>,
    /// Events never wait; there are few.
    events: mpsc::UnboundedSender<Message>,
}

enum Message {
    Frame(FromPod),
    /// Answered when all before it is written.
    Flush(oneshot::Sender<()>),
}

/// Frames of the platform.
pub(super) struct Frames(SplitStream<Stream>);

impl Connection {
    /// Opens it.
    ///
    /// # Errors
    /// When the platform cannot be reached or refuses.
    pub(super) async fn open(url: &str, key: &str) -> Result<Self, String> {
        let opened = tokio::time::timeout(CONNECT, upgrade::open(url, PROTOCOL, key, &[])).await;
        let connection = opened.map_err(|_| "no answer".to_owned())??.connection;
        let codec = LengthDelimitedCodec::builder().max_frame_length(MAX_FRAME_BYTES).new_codec();
        let (mut sink, stream) = Framed::new(TokioIo::new(connection), codec).split();
        let (output, mut outputs) = mpsc::channel(WAITING);
        let (events, mut told) = mpsc::unbounded_channel();
        // Ends with the connection, or with the last sender.
        tokio::spawn(async move {
            loop {
                let message = tokio::select! {
                    // What a worker wrote comes before its end: whoever tells the end has sent the output already.
                    biased;
                    Some(message) = outputs.recv() => message,
                    Some(message) = told.recv() => message,
                    else => return,
                };
                match message {
                    Message::Frame(frame) => {
                        if sink.send(frame.encode()).await.is_err() {
                            return;
                        }
                    }
                    Message::Flush(written) => drop(written.send(())),
                }
            }
        });
        Ok(Self { sender: Sender { output, events }, frames: Frames(stream) })
    }
}

impl Sender {
    /// Sends output of a worker, when there is room. `false` if the connection is closed.
    pub(super) async fn output(&self, frame: FromPod) -> bool {
        self.output.send(Message::Frame(frame)).await.is_ok()
    }

    /// Tells an event, after all output so far.
    pub(super) fn tell(&self, event: PodEvent) {
        // Fails if the connection is closed; then nobody is to be told.
        let _ = self.events.send(Message::Frame(FromPod::Event(event)));
    }

    /// Waits a moment until all so far is written.
    pub(super) async fn flush(&self) {
        let (written, done) = oneshot::channel();
        if self.events.send(Message::Flush(written)).is_ok() {
            let _ = tokio::time::timeout(LAST, done).await;
        }
    }
}

impl Frames {
    /// The next frame; `None` if the platform has closed the connection.
    ///
    /// # Errors
    /// When the connection breaks, or the frame cannot be read.
    pub(super) async fn next(&mut self) -> Result<Option<ToPod>, String> {
        match self.0.next().await {
            Some(Ok(frame)) => ToPod::decode(&frame).map(Some).map_err(|error| error.to_string()),
            Some(Err(error)) => Err(error.to_string()),
            None => Ok(None),
        }
    }
}
