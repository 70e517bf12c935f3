//! A worker that answers with whatever bytes the request asks for, so that tests say what a hostile one does.
use std::convert::Infallible;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

/// The most that a flood sends: more than anybody should take.
const FLOOD_BYTES: usize = 64_000_000;

/// Serves for ever. Headers of a request are in hex: `x-answer` is written as it is, then `x-flood` over and over,
/// then the connection ends, or is held with `x-hold`.
pub async fn serve(listener: TcpListener) -> Infallible {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        tokio::spawn(async move {
            // The other side may end at any time; that is what is tested.
            let _ = answer(stream).await;
        });
    }
}

async fn answer(mut stream: TcpStream) -> std::io::Result<()> {
    loop {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await?);
        }
        let head = String::from_utf8_lossy(&head).into_owned();
        if head.starts_with("GET /ping ") {
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await?;
            continue;
        }
        let (asked, mut flood) = (bytes_of(&head, "x-answer"), bytes_of(&head, "x-flood"));
        if !flood.is_empty() {
            // Many at once, or it would take its time.
            flood = flood.repeat(256 * 1024 / flood.len() + 1);
        }
        stream.write_all(&asked).await?;
        let mut sent = 0;
        while !flood.is_empty() && sent < FLOOD_BYTES {
            stream.write_all(&flood).await?;
            sent += flood.len();
        }
        if head.contains("x-hold:") {
            // Until the other side ends.
            while stream.read(&mut [0; 1024]).await? > 0 {}
        }
        return stream.shutdown().await;
    }
}

fn bytes_of(head: &str, name: &str) -> Vec<u8> {
    let value = head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
    let digits = value.unwrap_or_default().as_bytes();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.chunks_exact(2).map(byte).collect()
}
