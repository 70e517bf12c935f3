//! Connections that switch protocols, such as WebSockets. After the worker accepts, bytes are passed through
//! unchanged.
//!
//! The limits on body size and time do not apply. The number of slots limits these connections.
use std::time::Duration;

use axum::extract::Request;
use http::{HeaderMap, HeaderValue, header};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, copy, split};

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

    /// The worker accepted `protocol`; tells the client. The future runs the connection after the answer is sent.
    pub(super) fn accepted<B>(
        self,
        response: &mut http::Response<B>,
        protocol: Option<HeaderValue>,
    ) -> impl Future<Output = ()> + Send + use<B> + 'static {
        let on_worker = hyper::upgrade::on(&mut *response);
        set(response.headers_mut(), protocol.unwrap_or(self.protocol));
        let on_client = self.on_client;
        async move {
            // If the client has disconnected meanwhile, there is nothing to upgrade.
            if let Ok((client, worker)) = tokio::try_join!(on_client, on_worker) {
                splice(TokioIo::new(client), TokioIo::new(worker)).await;
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

/// Copies in both directions until one side ends. Then data in the other direction gets a short time.
async fn splice<A, B>(client: A, worker: B)
where
    A: AsyncRead + AsyncWrite,
    B: AsyncRead + AsyncWrite,
{
    let (mut from_client, mut to_client) = split(client);
    let (mut from_worker, mut to_worker) = split(worker);
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
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, duplex};

    use super::*;

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
        let spliced = tokio::spawn(splice(client_end, worker_end));
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
    async fn a_worker_that_ignores_the_end_of_its_client_does_not_keep_the_connection() {
        let (client, client_end) = duplex(64);
        let (_worker, worker_end) = duplex(64);
        let spliced = tokio::spawn(splice(client_end, worker_end));
        drop(client);
        spliced.await.unwrap();
    }
}
