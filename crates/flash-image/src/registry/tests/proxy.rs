//! A TCP proxy that breaks connections where a test asks for it.
use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use parking_lot::Mutex;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream, tcp::OwnedReadHalf, tcp::OwnedWriteHalf},
    task::{AbortHandle, JoinSet},
};

/// What happens to a piece in transit.
pub(super) enum Verdict {
    Pass,
    /// This much of it passes, then the connection breaks.
    CutAfter(usize),
}

type Judge = Arc<Mutex<dyn FnMut(&[u8]) -> Verdict + Send>>;

/// Stopped when dropped.
pub(super) struct Proxy {
    pub address: String,
    upstream: Arc<Mutex<String>>,
    up: Way,
    down: Way,
    task: AbortHandle,
}

/// One direction: its judge, the bytes passed, and the number of breaks.
#[derive(Clone)]
struct Way {
    judge: Judge,
    passed: Arc<AtomicU64>,
    cuts: Arc<AtomicU64>,
}

impl Proxy {
    /// In front of this address. The judges see upstream and downstream data.
    pub(super) async fn start(
        upstream: &str,
        up: impl FnMut(&[u8]) -> Verdict + Send + 'static,
        down: impl FnMut(&[u8]) -> Verdict + Send + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let upstream = Arc::new(Mutex::new(upstream.to_owned()));
        let up = Way { judge: Arc::new(Mutex::new(up)), passed: Arc::default(), cuts: Arc::default() };
        let down = Way { judge: Arc::new(Mutex::new(down)), passed: Arc::default(), cuts: Arc::default() };
        let ways = (up.clone(), down.clone());
        let to = upstream.clone();
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                let (up, down, to) = (up.clone(), down.clone(), to.lock().clone());
                connections.spawn(async move {
                    let Ok(server) = TcpStream::connect(to).await else { return };
                    let (from_client, to_client) = client.into_split();
                    let (from_server, to_server) = server.into_split();
                    // Whichever ends first ends the other.
                    tokio::select! {
                        _ = up.carry(from_client, to_server) => {}
                        _ = down.carry(from_server, to_client) => {}
                    }
                });
            }
        });
        let (up, down) = ways;
        Self { address, upstream, up, down, task: task.abort_handle() }
    }

    /// The address for new connections.
    pub(super) fn upstream(&self) -> Arc<Mutex<String>> {
        self.upstream.clone()
    }

    /// Bytes sent upstream.
    pub(super) fn up(&self) -> u64 {
        self.up.passed.load(Ordering::Relaxed)
    }

    /// The number of broken connections.
    pub(super) fn cuts(&self) -> u64 {
        self.up.cuts.load(Ordering::Relaxed) + self.down.cuts.load(Ordering::Relaxed)
    }

    /// Bytes sent downstream.
    pub(super) fn down(&self) -> u64 {
        self.down.passed.load(Ordering::Relaxed)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Way {
    async fn carry(self, mut from: OwnedReadHalf, mut to: OwnedWriteHalf) -> io::Result<()> {
        let mut piece = vec![0; 16 * 1024];
        loop {
            let read = from.read(&mut piece).await?;
            if read == 0 {
                return Ok(());
            }
            let verdict = (self.judge.lock())(&piece[..read]);
            let passing = match verdict {
                Verdict::Pass => read,
                Verdict::CutAfter(count) => {
                    self.cuts.fetch_add(1, Ordering::Relaxed);
                    count.min(read)
                }
            };
            self.passed.fetch_add(passing as u64, Ordering::Relaxed);
            to.write_all(&piece[..passing]).await?;
            if matches!(verdict, Verdict::CutAfter(_)) {
                return Ok(());
            }
        }
    }
}

/// Lets everything pass.
pub(super) fn pass(_: &[u8]) -> Verdict {
    Verdict::Pass
}

/// Breaks a connection whenever this much has passed since the last break, this many times.
pub(super) fn cut_after_each(bytes: usize, mut times: usize) -> impl FnMut(&[u8]) -> Verdict + Send {
    let mut left = bytes;
    move |piece| {
        if times == 0 || piece.len() < left {
            left = left.saturating_sub(piece.len());
            return Verdict::Pass;
        }
        times -= 1;
        Verdict::CutAfter(std::mem::replace(&mut left, bytes))
    }
}

/// Breaks the connection once, in the middle of the first piece that contains this text.
pub(super) fn cut_once_at(text: &'static str) -> impl FnMut(&[u8]) -> Verdict + Send {
    let mut cut = false;
    move |piece| {
        let found = piece.windows(text.len()).position(|part| part == text.as_bytes());
        match found {
            Some(at) if !std::mem::replace(&mut cut, true) => Verdict::CutAfter(at + text.len()),
            _ => Verdict::Pass,
        }
    }
}
