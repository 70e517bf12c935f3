//! Accepts connections and serves each in its own task.
//!
//! A connection is *idle* while it has no request: before the head of the first request, and between an answer and
//! the next head. If there is no room for a new connection, the longest idle one is closed. If none is idle, the
//! new one waits.
use std::{
    collections::BTreeMap,
    convert::Infallible,
    fmt::Debug,
    io::{self, IoSlice},
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    body::{Body, Bytes},
    response::Response,
    serve::Listener,
};
use hyper::{
    body::{Frame, Incoming, SizeHint},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use parking_lot::{Mutex, MutexGuard};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep, sleep},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    HEAD_TIME, WRITE_PAUSE,
    descriptors::{ConnectionPermit, ConnectionShare},
};

/// Between two checks for a permit: another listener may have freed one, or a connection may have been idle for this
/// long.
const NEXT_LOOK: Duration = Duration::from_secs(1);

/// How long the end of an answer may take to be written before an idle connection is closed.
const LAST_BYTES: Duration = Duration::from_secs(1);
/// How many idle connections are closed at once to make room.
const MAKE_ROOM: usize = 16;

/// Accepts connections until `closing` and answers requests with `respond`. Ends when all connections have ended,
/// except those that switched protocols.
pub async fn serve<L, R, F>(mut listener: L, share: ConnectionShare, closing: CancellationToken, respond: R)
where
    L: Listener<Addr: Clone + Debug + Sync>,
    R: Fn(http::Request<Incoming>, L::Addr) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response> + Send + 'static,
{
    let connections = Arc::new(Connections { share, idle: Mutex::default() });
    let tasks = TaskTracker::new();
    let accepting = async {
        loop {
            let (stream, address) = listener.accept().await;
            let permit = connections.permit().await;
            let connection = OpenConnection::begin(&connections);
            let respond = respond.clone();
            let respond = move |request| respond(request, address.clone());
            tasks.spawn(serve_one(Held::new(stream, permit), connection, closing.clone(), respond));
        }
    };
    let _ = closing.run_until_cancelled(accepting).await;
    drop(listener);
    tasks.close();
    tasks.wait().await;
}

async fn serve_one<I, R, F>(
    stream: Held<I>,
    connection: Arc<OpenConnection>,
    closing: CancellationToken,
    respond: R,
) where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    R: Fn(http::Request<Incoming>) -> F,
    F: Future<Output = Response>,
{
    let service = service_fn(|request| {
        let busy = Busy::begin(&connection);
        let answering = respond(request);
        async move { Ok::<_, Infallible>(answering.await.map(|body| Answer { body, _busy: busy })) }
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD_TIME);
    let mut served = pin!(http.serve_connection(TokioIo::new(stream), service).with_upgrades());
    let ended = async {
        tokio::select! {
            () = closing.cancelled() => {}
            () = connection.asked_to_go.cancelled() => {}
        }
    };
    tokio::select! {
        // Its errors are caused by the client: an invalid head was answered, and a missing one ended the connection.
        _ = served.as_mut() => return,
        () = ended => {}
    }
    served.as_mut().graceful_shutdown();
    match connection.state() {
        State::Busy => {
            let _ = served.await;
        }
        // The end of its last answer may still be in transit.
        State::Idle { was_answered: true, .. } => {
            let _ = tokio::time::timeout(LAST_BYTES, served).await;
        }
        State::Idle { was_answered: false, .. } => {}
    }
}

struct Connections {
    share: ConnectionShare,
    idle: Mutex<IdleConnections>,
}

/// Idle connections, in the order in which they became idle, and since when.
#[derive(Default)]
struct IdleConnections {
    next: u64,
    connections: BTreeMap<u64, (Instant, CancellationToken)>,
}

impl Connections {
    /// A permit for one more connection.
    async fn permit(&self) -> ConnectionPermit {
        loop {
            if let Some(permit) = self.share.try_acquire() {
                return permit;
            }
            self.make_room();
            // Another listener may have used the last permit.
            let _ = tokio::time::timeout(NEXT_LOOK, self.share.freed()).await;
        }
    }

    /// Closes the longest idle connections. New ones may be about to send a request.
    fn make_room(&self) {
        let mut idle = self.idle();
        for _ in 0..MAKE_ROOM {
            let Some(longest) = idle.connections.first_entry() else { return };
            let (since, asked_to_go) = longest.get();
            if since.elapsed() < NEXT_LOOK {
                return;
            }
            asked_to_go.cancel();
            longest.remove();
        }
    }

    fn idle(&self) -> MutexGuard<'_, IdleConnections> {
        self.idle.lock()
    }
}

/// A connection among the others.
struct OpenConnection {
    connections: Arc<Connections>,
    asked_to_go: CancellationToken,
    state: Mutex<State>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Busy,
    Idle {
        since: u64,
        /// Whether a request came over it before.
        was_answered: bool,
    },
}

impl OpenConnection {
    fn begin(connections: &Arc<Connections>) -> Arc<Self> {
        let (connections, asked_to_go) = (connections.clone(), CancellationToken::new());
        let connection = Arc::new(Self { connections, asked_to_go, state: Mutex::new(State::Busy) });
        connection.becomes_idle(false);
        connection
    }

    fn becomes_idle(&self, was_answered: bool) {
        let mut idle = self.connections.idle();
        let since = idle.next;
        idle.next += 1;
        idle.connections.insert(since, (Instant::now(), self.asked_to_go.clone()));
        self.set_state(State::Idle { since, was_answered });
        drop(idle);
        self.connections.share.wake();
    }

    fn becomes_busy(&self) {
        let mut idle = self.connections.idle();
        if let State::Idle { since, .. } = self.set_state(State::Busy) {
            idle.connections.remove(&since);
        }
    }

    fn state(&self) -> State {
        *self.state.lock()
    }

    /// Gives the state before.
    fn set_state(&self, state: State) -> State {
        std::mem::replace(&mut *self.state.lock(), state)
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.becomes_busy();
    }
}

/// A request in progress.
struct Busy(Arc<OpenConnection>);

impl Busy {
    fn begin(connection: &Arc<OpenConnection>) -> Self {
        connection.becomes_busy();
        Self(connection.clone())
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.becomes_idle(true);
    }
}

/// An answer; its request has ended only with its last byte.
struct Answer {
    body: Body,
    _busy: Busy,
}

impl hyper::body::Body for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A stream and its permit, which it keeps when the connection switches protocols. A write fails if the other side
/// accepts nothing for [`WRITE_PAUSE`].
struct Held<I> {
    stream: I,
    /// Runs while a write waits.
    pause: Option<Pin<Box<Sleep>>>,
    _permit: ConnectionPermit,
}

impl<I> Held<I> {
    fn new(stream: I, permit: ConnectionPermit) -> Self {
        Self { stream, pause: None, _permit: permit }
    }

    /// The result of a write, considering how long it has waited.
    fn in_time<T>(&mut self, cx: &mut Context<'_>, polled: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if polled.is_ready() {
            self.pause = None;
            return polled;
        }
        let pause = self.pause.get_or_insert_with(|| Box::pin(sleep(WRITE_PAUSE)));
        pause.as_mut().poll(cx).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for Held<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for Held<I> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.in_time(cx, polled)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.in_time(cx, polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::{future::pending, net::SocketAddr};

    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex},
        sync::{Notify, mpsc},
        task::JoinHandle,
    };

    use super::{
        super::{Descriptors, Listeners},
        *,
    };

    /// Connections without a network.
    struct Incomings(mpsc::UnboundedReceiver<DuplexStream>);

    impl Listener for Incomings {
        type Io = DuplexStream;
        type Addr = SocketAddr;

        async fn accept(&mut self) -> (DuplexStream, SocketAddr) {
            match self.0.recv().await {
                Some(stream) => (stream, SocketAddr::from(([127, 0, 0, 1], 1))),
                None => pending().await,
            }
        }

        fn local_addr(&self) -> io::Result<SocketAddr> {
            Ok(SocketAddr::from(([127, 0, 0, 1], 1)))
        }
    }

    struct Server {
        incoming: mpsc::UnboundedSender<DuplexStream>,
        /// Answers requests for `/held`.
        gate: Arc<Notify>,
        closing: CancellationToken,
        serving: JoinHandle<()>,
    }

    impl Server {
        /// A listener with room for this many connections.
        fn start(places: usize) -> Self {
            let (incoming, incomings) = mpsc::unbounded_channel();
            let (gate, closing) = (Arc::new(Notify::new()), CancellationToken::new());
            let held = gate.clone();
            let respond = move |request: http::Request<Incoming>, _| {
                let held = held.clone();
                async move {
                    if request.uri().path() == "/held" {
                        held.notified().await;
                    }
                    let long = request.uri().path() == "/long";
                    Response::new(Body::from(if long { "x".repeat(100_000) } else { "answer".to_owned() }))
                }
            };
            let share = Descriptors::new(places, Listeners::One).share();
            let serving = tokio::spawn(serve(Incomings(incomings), share, closing.clone(), respond));
            Self { incoming, gate, closing, serving }
        }

        /// A new connection over which this was sent.
        async fn open(&self, sent: &str) -> DuplexStream {
            let (mut client, server) = duplex(4096);
            self.incoming.send(server).unwrap();
            client.write_all(sent.as_bytes()).await.unwrap();
            client
        }
    }

    /// All that comes until the connection ends.
    async fn rest(mut client: DuplexStream) -> String {
        let mut text = String::new();
        client.read_to_string(&mut text).await.unwrap();
        text
    }

    async fn answered(client: &mut DuplexStream) {
        let mut text = String::new();
        while !text.ends_with("answer") {
            let byte = client.read_u8().await.unwrap();
            text.push(char::from(byte));
        }
        assert!(text.starts_with("HTTP/1.1 200"), "{text}");
    }

    const WHOLE: &str = "GET / HTTP/1.1\r\nhost: x\r\n\r\n";
    const HELD: &str = "GET /held HTTP/1.1\r\nhost: x\r\n\r\n";
    const HALF: &str = "GET / HTTP/1.1\r\nhost:";

    #[tokio::test(start_paused = true)]
    async fn a_connection_without_a_whole_head_ends_in_time() {
        let server = Server::start(8);
        for sent in ["", "G", HALF, "\r\n\r\n"] {
            let began = Instant::now();
            let client = server.open(sent).await;
            assert!(!rest(client).await.contains(" 200 "), "{sent:?}");
            assert_eq!(began.elapsed().as_secs(), HEAD_TIME.as_secs(), "{sent:?}");
        }
        // The same between two requests.
        let mut client = server.open(WHOLE).await;
        answered(&mut client).await;
        client.write_all(WHOLE.as_bytes()).await.unwrap();
        answered(&mut client).await;
        let began = Instant::now();
        assert_eq!(rest(client).await, "");
        assert_eq!(began.elapsed().as_secs(), HEAD_TIME.as_secs());
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_takes_nothing_of_its_answer_is_let_go() {
        let server = Server::start(8);
        let mut client = server.open("GET /long HTTP/1.1\r\nhost: x\r\n\r\n").await;
        let mut some = [0; 1000];
        for _ in 0..20 {
            sleep(WRITE_PAUSE - Duration::from_secs(1)).await;
            client.read_exact(&mut some).await.unwrap();
        }
        let before = rest_after(client, WRITE_PAUSE + Duration::from_secs(1)).await;
        assert!(before < 80_000, "slowly is in order: {before}");
    }

    /// How many bytes come, and then the end, after nothing was read for so long.
    async fn rest_after(client: DuplexStream, pause: Duration) -> usize {
        sleep(pause).await;
        rest(client).await.len()
    }

    #[tokio::test(start_paused = true)]
    async fn who_has_been_silent_the_longest_makes_room() {
        let server = Server::start(2);
        let began = Instant::now();
        let idle: Vec<DuplexStream> = vec![server.open(HALF).await, server.open("").await];
        for _ in 0..20 {
            let mut client = server.open(WHOLE).await;
            answered(&mut client).await;
        }
        for client in idle {
            assert_eq!(rest(client).await, "");
        }
        assert!(began.elapsed() < HEAD_TIME, "{:?}", began.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_being_served_keeps_its_place_and_the_next_waits() {
        let server = Server::start(2);
        let mut held = vec![server.open(HELD).await, server.open(HELD).await];
        let mut next = server.open(WHOLE).await;
        let mut early = [0];
        let waits = tokio::time::timeout(HEAD_TIME * 3, next.read(&mut early)).await;
        assert!(waits.is_err(), "it was served, or refused: {waits:?}");
        server.gate.notify_one();
        answered(&mut next).await;
        server.gate.notify_one();
        // One has made room since its answer, the other has its own.
        for client in &mut held {
            answered(client).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn at_the_end_the_silent_go_at_once_and_the_others_with_their_answer() {
        let server = Server::start(8);
        let half = server.open(HALF).await;
        let held = server.open(HELD).await;
        let mut idle = server.open(WHOLE).await;
        answered(&mut idle).await;
        server.closing.cancel();
        assert_eq!((rest(half).await, rest(idle).await), (String::new(), String::new()));
        assert!(!server.serving.is_finished());
        server.gate.notify_one();
        assert!(rest(held).await.ends_with("answer"));
        server.serving.await.unwrap();
    }
}
