//! Connections that switch protocols, such as WebSockets. After the worker accepts, bytes are passed through
//! unchanged.
//!
//! The limits on body size and total time do not apply, but a connection on which nothing comes from either side is
//! closed after the worker type's request timeout. The number of slots limits these connections.
use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use axum::extract::Request;
use http::{HeaderMap, HeaderValue, header};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, ReadBuf, copy, split},
    time::{Instant, sleep_until},
};

/// After one side has ended, data in flight may still arrive for this long.
const LINGER: Duration = Duration::from_secs(2);

/// A client's request to switch protocols.
pub(super) struct Wanted {
    protocol: HeaderValue,
    on_client: OnUpgrade,
}

impl Wanted {
    /// The upgrade that this request asks for, if any.
    pub(super) fn of(request: &mut Request) -> Option<Self> {
        let protocol = request.headers().get(header::UPGRADE)?.clone();
        // HTTP/2 would contain other requests that bypass all limits. Clients that offer it can do without.
        if !names_upgrade(request.headers()) || protocol.as_bytes().eq_ignore_ascii_case(b"h2c") {
            return None;
        }
        Some(Self { protocol, on_client: hyper::upgrade::on(request) })
    }

    /// Says it to the worker.
    pub(super) fn announce(&self, headers: &mut HeaderMap) {
        set(headers, self.protocol.clone());
    }

    /// The worker accepted `protocol`; tells the client. The future runs the connection after the answer is sent, and
    /// ends it when nothing came for `limit`.
    pub(super) fn accepted<B>(
        self,
        response: &mut http::Response<B>,
        protocol: Option<HeaderValue>,
        limit: Duration,
    ) -> impl Future<Output = End> + Send + use<B> + 'static {
        let on_worker = hyper::upgrade::on(&mut *response);
        set(response.headers_mut(), protocol.unwrap_or(self.protocol));
        let on_client = self.on_client;
        async move {
            // If the client has disconnected meanwhile, there is nothing to upgrade.
            match tokio::try_join!(on_client, on_worker) {
                Ok((client, worker)) => splice(TokioIo::new(client), TokioIo::new(worker), limit).await,
                Err(_) => End::Closed,
            }
        }
    }
}

fn names_upgrade(headers: &HeaderMap) -> bool {
    let values = headers.get_all(header::CONNECTION).iter();
    values
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|token| token.trim().eq_ignore_ascii_case("upgrade"))
}

fn set(headers: &mut HeaderMap, protocol: HeaderValue) {
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(header::UPGRADE, protocol);
}

/// How an upgraded connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// By one of its sides.
    Closed,
    /// Nothing came from either side for too long.
    Silent,
}

/// When bytes last came, from either side.
#[derive(Clone)]
struct LastBytes(Arc<Mutex<Instant>>);

impl LastBytes {
    /// Completes when nothing came for `limit`.
    async fn are_older_than(&self, limit: Duration) {
        loop {
            let due = *self.0.lock() + limit;
            if due <= Instant::now() {
                return;
            }
            sleep_until(due).await;
        }
    }
}

/// One side, with the time of its bytes noted.
struct Noted<R> {
    side: R,
    last: LastBytes,
}

impl<R: AsyncRead + Unpin> AsyncRead for Noted<R> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.side).poll_read(cx, buffer);
        if buffer.filled().len() > before {
            *self.last.0.lock() = Instant::now();
        }
        polled
    }
}

/// Copies in both directions until one side ends, or nothing came for `limit`. After one side has ended, data in the
/// other direction gets a short time.
async fn splice<A, B>(client: A, worker: B, limit: Duration) -> End
where
    A: AsyncRead + AsyncWrite,
    B: AsyncRead + AsyncWrite,
{
    let last = LastBytes(Arc::new(Mutex::new(Instant::now())));
    let (from_client, mut to_client) = split(client);
    let (from_worker, mut to_worker) = split(worker);
    let mut from_client = Noted { side: from_client, last: last.clone() };
    let mut from_worker = Noted { side: from_worker, last: last.clone() };
    // An error ends a direction like its normal end: nothing more follows.
    let up = async {
        let _ = copy(&mut from_client, &mut to_worker).await;
        let _ = to_worker.shutdown().await;
    };
    let down = async {
        let _ = copy(&mut from_worker, &mut to_client).await;
        let _ = to_client.shutdown().await;
    };
    tokio::pin!(up, down);
    tokio::select! {
        () = &mut up => { let _ = tokio::time::timeout(LINGER, down).await; }
        () = &mut down => { let _ = tokio::time::timeout(LINGER, up).await; }
        () = last.are_older_than(limit) => return End::Silent,
    }
    End::Closed
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, duplex};

    use super::*;

    const LIMIT: Duration = Duration::from_secs(330);

    fn request(connection: &'static str, upgrade: &'static str) -> Request {
        let request = http::Request::builder().header("connection", connection).header("upgrade", upgrade);
        request.body(axum::body::Body::empty()).unwrap()
    }

    #[test]
    fn an_upgrade_is_one_only_if_the_connection_says_so_and_h2c_never() {
        assert!(Wanted::of(&mut request("keep-alive, Upgrade", "websocket")).is_some());
        assert!(Wanted::of(&mut request("keep-alive", "websocket")).is_none());
        assert!(Wanted::of(&mut request("upgrade, http2-settings", "h2c")).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn bytes_go_both_ways_and_the_end_of_one_side_ends_both() {
        let (mut client, client_end) = duplex(64);
        let (mut worker, worker_end) = duplex(64);
        let spliced = tokio::spawn(splice(client_end, worker_end, LIMIT));
        let mut read = [0; 4];
        client.write_all(b"ping").await.unwrap();
        worker.read_exact(&mut read).await.unwrap();
        assert_eq!(&read, b"ping");
        worker.write_all(b"pong").await.unwrap();
        client.read_exact(&mut read).await.unwrap();
        assert_eq!(&read, b"pong");

        // The last data of the side that ends arrives, although the other side never ends by itself.
        worker.write_all(b"last").await.unwrap();
        drop(worker);
        client.read_exact(&mut read).await.unwrap();
        assert_eq!(&read, b"last");
        assert_eq!(client.read(&mut read).await.unwrap(), 0);
        spliced.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_may_last_but_not_be_silent_for_long() {
        let (mut client, client_end) = duplex(64);
        let (mut worker, worker_end) = duplex(64);
        let spliced = tokio::spawn(splice(client_end, worker_end, LIMIT));
        let mut read = [0; 1];
        for _ in 0..3 {
            // Bytes of one side are enough.
            tokio::time::sleep(LIMIT - Duration::from_secs(1)).await;
            worker.write_all(b"x").await.unwrap();
            client.read_exact(&mut read).await.unwrap();
        }
        let silent = Instant::now();
        assert_eq!(spliced.await.unwrap(), End::Silent);
        assert_eq!(silent.elapsed(), LIMIT);
        assert_eq!(client.read(&mut read).await.unwrap(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_worker_that_ignores_the_end_of_its_client_does_not_keep_the_connection() {
        let (client, client_end) = duplex(64);
        let (_worker, worker_end) = duplex(64);
        let spliced = tokio::spawn(splice(client_end, worker_end, LIMIT));
        drop(client);
        spliced.await.unwrap();
    }
}
