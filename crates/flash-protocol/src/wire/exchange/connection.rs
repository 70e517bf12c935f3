//! Framing over any byte stream.
use std::io;

use bytes::Bytes;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, BufReader};
use tokio::sync::mpsc;

use super::{
    super::payload::{Attachments, reading_frame, writing_frame},
    MAX_FRAME_BYTES,
};

/// The bit of a frame's length that says that attachments follow its JSON.
const HAS_ATTACHMENTS: u32 = 1 << 31;

/// A larger buffer is given back after use, instead of being kept for the life of the connection.
const KEPT_BUFFER_BYTES: usize = 1024 * 1024;

/// What the other side reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrameFormat {
    /// JSON only, as workers and platforms of earlier versions.
    Json,
    /// Attachments beside the JSON.
    Attachments,
}

/// Describes the attachments of a frame.
#[derive(Serialize, Deserialize)]
struct Head {
    mark: Box<str>,
    lengths: Vec<u32>,
}

/// Reads frames; returns `None` at the end of the connection.
pub struct Reader<R> {
    inner: BufReader<R>,
    buffer: Vec<u8>,
}

/// A cheap handle to send frames. Its queue is bounded by the user's work in flight: one frame per job or call.
pub struct Writer<T> {
    /// `None` ends the connection after everything queued before it.
    frames: mpsc::UnboundedSender<Option<T>>,
    format: FrameFormat,
}

impl<T> Clone for Writer<T> {
    fn clone(&self) -> Self {
        Self { frames: self.frames.clone(), format: self.format }
    }
}

impl<T> Writer<T> {
    /// Queues a frame. `false` if the connection is closed.
    pub fn send(&self, frame: T) -> bool {
        self.frames.send(Some(frame)).is_ok()
    }

    /// Ends the connection once everything queued is written, even if there are other handles.
    pub fn end(&self) {
        // Fails if the connection is already closed, which is fine.
        let _ = self.frames.send(None);
    }

    /// Whether the connection is closed.
    pub fn is_closed(&self) -> bool {
        self.frames.is_closed()
    }

    /// What the other side reads.
    pub fn format(&self) -> FrameFormat {
        self.format
    }
}

/// Reads frames from this stream.
pub fn read<R: AsyncRead + Unpin>(stream: R) -> Reader<R> {
    Reader { inner: BufReader::with_capacity(64 * 1024, stream), buffer: Vec::new() }
}

impl<R: AsyncRead + Unpin> Reader<R> {
    /// The next frame; `None` at the end of the stream.
    ///
    /// # Errors
    /// If the connection breaks, or the frame is too long or of another type.
    pub async fn next<T: DeserializeOwned>(&mut self) -> io::Result<Option<T>> {
        let length = match self.inner.read_u32().await {
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            Err(error) => return Err(error),
        };
        let total = (length & !HAS_ATTACHMENTS) as usize;
        if total > MAX_FRAME_BYTES {
            return Err(io::Error::other(format!("frame of {total} bytes, the limit is {MAX_FRAME_BYTES}")));
        }
        let frame = match length & HAS_ATTACHMENTS {
            0 => {
                self.fill(total).await?;
                serde_json::from_slice(&self.buffer).map_err(io::Error::from)
            }
            _ => {
                let attachments = self.attachments_of(total).await?;
                reading_frame(attachments, || serde_json::from_slice(&self.buffer).map_err(io::Error::from))
            }
        };
        if self.buffer.capacity() > KEPT_BUFFER_BYTES {
            self.buffer = Vec::new();
        }
        frame.map(Some)
    }

    /// Reads this many bytes into the buffer.
    async fn fill(&mut self, length: usize) -> io::Result<()> {
        self.buffer.resize(length, 0);
        self.inner.read_exact(&mut self.buffer).await.map(drop)
    }

    /// Reads the rest of a frame of `total` bytes: its JSON is in the buffer then.
    async fn attachments_of(&mut self, total: usize) -> io::Result<Attachments> {
        let mut left = total;
        self.fill_block(&mut left).await?;
        let head: Head = serde_json::from_slice(&self.buffer)?;
        self.fill_block(&mut left).await?;
        let mut parts = Vec::new();
        for length in head.lengths {
            let length = length as usize;
            left = left.checked_sub(length).ok_or_else(does_not_add_up)?;
            parts.push(self.part(length).await?);
        }
        if left > 0 {
            return Err(does_not_add_up());
        }
        Attachments::new(&head.mark, parts)
            .ok_or_else(|| io::Error::other("the mark of a frame's attachments is not one"))
    }

    /// Reads a length and that many bytes into the buffer.
    async fn fill_block(&mut self, left: &mut usize) -> io::Result<()> {
        let rest = left.checked_sub(4).ok_or_else(does_not_add_up)?;
        let length = self.inner.read_u32().await? as usize;
        *left = rest.checked_sub(length).ok_or_else(does_not_add_up)?;
        self.fill(length).await
    }

    /// Reads an attachment into memory of its own, which is then shared and not copied.
    async fn part(&mut self, length: usize) -> io::Result<Bytes> {
        let mut part = Vec::with_capacity(length);
        (&mut self.inner).take(length as u64).read_to_end(&mut part).await?;
        if part.len() < length {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(part.into())
    }
}

fn does_not_add_up() -> io::Error {
    io::Error::other("the lengths within a frame do not add up to its own")
}

/// Returns a handle to send frames, and the future that writes them, all queued frames in one write. Attachments are
/// written from where they are.
///
/// The future ends after [`Writer::end`], when all handles are dropped, or when the connection breaks.
pub fn write<T, W>(
    mut stream: W,
    format: FrameFormat,
) -> (Writer<T>, impl Future<Output = io::Result<()>> + Send)
where
    T: Serialize + Send,
    W: AsyncWrite + Unpin + Send,
{
    let (frames, mut queued) = mpsc::unbounded_channel::<Option<T>>();
    let task = async move {
        let mut batch = Vec::new();
        let mut bytes = Vec::with_capacity(16 * 1024);
        let mut open = true;
        while open && queued.recv_many(&mut batch, 128).await > 0 {
            bytes.clear();
            for frame in batch.drain(..) {
                let Some(frame) = frame else {
                    open = false;
                    continue;
                };
                let parts = append(&mut bytes, &frame, format)?;
                if parts.is_empty() {
                    continue;
                }
                stream.write_all(&bytes).await?;
                bytes.clear();
                for part in parts {
                    stream.write_all(&part).await?;
                }
            }
            stream.write_all(&bytes).await?;
            stream.flush().await?;
            if bytes.capacity() > KEPT_BUFFER_BYTES {
                bytes = Vec::with_capacity(16 * 1024);
            }
        }
        stream.shutdown().await
    };
    (Writer { frames, format }, task)
}

/// Appends a frame without its attachments, and returns them.
fn append<T: Serialize>(bytes: &mut Vec<u8>, frame: &T, format: FrameFormat) -> io::Result<Vec<Bytes>> {
    let start = bytes.len();
    bytes.extend_from_slice(&[0; 4]);
    if format == FrameFormat::Json {
        serde_json::to_writer(&mut *bytes, frame)?;
        set_length(bytes, start, 0, 0)?;
        return Ok(Vec::new());
    }
    let (written, attachments) = writing_frame(|| serde_json::to_writer(&mut *bytes, frame));
    written?;
    let Some(attachments) = attachments else {
        set_length(bytes, start, 0, 0)?;
        return Ok(Vec::new());
    };
    let lengths = attachments.parts.iter().map(|part| u32::try_from(part.len()).map_err(io::Error::other));
    let head = Head { mark: (&*attachments.mark).into(), lengths: lengths.collect::<io::Result<_>>()? };
    let json = bytes.split_off(start + 4);
    for block in [serde_json::to_vec(&head)?, json] {
        let length = u32::try_from(block.len()).map_err(io::Error::other)?;
        bytes.extend_from_slice(&length.to_be_bytes());
        bytes.extend_from_slice(&block);
    }
    let beside: usize = attachments.parts.iter().map(Bytes::len).sum();
    set_length(bytes, start, beside, HAS_ATTACHMENTS)?;
    Ok(attachments.parts.clone())
}

/// Writes the length of the frame at `start`, which `beside` more bytes follow.
fn set_length(bytes: &mut [u8], start: usize, beside: usize, bit: u32) -> io::Result<()> {
    let length = u32::try_from(bytes.len() - start - 4 + beside).map_err(io::Error::other)?;
    bytes[start..start + 4].copy_from_slice(&(length | bit).to_be_bytes());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::{CallFrame, ToPlatform, ToWorker};
    use super::*;
    use crate::wire::{Payload, base64, envelope::Envelope, job::Policy, payload::attach};

    #[tokio::test]
    async fn frames_arrive_in_order_and_the_end_is_seen() {
        let (near, far) = tokio::io::duplex(64);
        let (writer, task) = write::<ToPlatform, _>(near, FrameFormat::Json);
        let task = tokio::spawn(task);
        for call in 0..200 {
            assert!(writer.send(ToPlatform::Abandon(call)));
        }
        drop(writer);
        let mut reader = read(far);
        for expected in 0..200 {
            let frame: Option<ToPlatform> = reader.next().await.unwrap();
            assert!(matches!(frame, Some(ToPlatform::Abandon(call)) if call == expected));
        }
        assert!(reader.next::<ToPlatform>().await.unwrap().is_none());
        task.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn an_overlong_frame_is_refused_before_it_is_read() {
        for first in [0x7f_u8, 0xff] {
            let bytes = [first, 0xff, 0xff, 0xff, b'{'];
            let error = read(&bytes[..]).next::<ToWorker>().await.unwrap_err();
            assert!(error.to_string().contains("the limit is"), "{error}");
        }
    }

    /// A call whose input is this byte string.
    fn call(call: u64, bytes: &Bytes) -> ToPlatform {
        let input = Payload::collect(|| {
            let text = attach(bytes).unwrap_or_else(|| base64::encode(bytes));
            serde_json::value::to_raw_value(&text)
        });
        let (worker, envelope) = ("w".to_owned(), Envelope::default());
        ToPlatform::Call(CallFrame {
            call,
            worker,
            envelope,
            input: input.unwrap(),
            policy: Policy::default(),
            attached_chunks: false,
            window: None,
        })
    }

    /// What arrives of three calls, in this format: whether it has attachments, and the input as JSON.
    async fn sent(format: FrameFormat, bytes: &Bytes) -> Vec<(bool, String)> {
        let (near, far) = tokio::io::duplex(1000);
        let (writer, task) = write::<ToPlatform, _>(near, format);
        let task = tokio::spawn(task);
        let short = Bytes::from_static(b"abc");
        for (number, bytes) in [(1, bytes), (2, &short), (3, bytes)] {
            assert!(writer.send(call(number, bytes)));
        }
        drop(writer);
        let (mut reader, mut arrived) = (read(far), Vec::new());
        while let Some(frame) = reader.next::<ToPlatform>().await.unwrap() {
            let ToPlatform::Call(frame) = frame else { panic!("{frame:?}") };
            arrived.push((frame.input.has_attachments(), frame.input.to_json().get().to_owned()));
        }
        task.await.unwrap().unwrap();
        arrived
    }

    #[tokio::test]
    async fn byte_strings_travel_beside_the_json_and_within_it_to_a_side_that_reads_only_json() {
        let bytes: Bytes = (0..5000_u32).map(|byte| byte.to_le_bytes()[0]).collect();
        let json = format!("\"{}\"", base64::encode(&bytes));
        for (format, attached) in [(FrameFormat::Attachments, true), (FrameFormat::Json, false)] {
            let arrived = sent(format, &bytes).await;
            let short = "\"YWJj\"".to_owned();
            assert_eq!(arrived, [(attached, json.clone()), (false, short), (attached, json.clone())]);
        }
    }

    #[tokio::test]
    async fn a_frame_whose_lengths_do_not_add_up_ends_the_connection() {
        let mut frame = Vec::new();
        let parts = append(&mut frame, &call(1, &vec![7; 600].into()), FrameFormat::Attachments).unwrap();
        frame.extend_from_slice(&parts[0]);
        assert!(read(&frame[..]).next::<ToPlatform>().await.unwrap().is_some());
        let mut shorter = frame.clone();
        shorter[3] -= 1;
        let mut longer = frame.clone();
        longer[3] += 1;
        let mut no_mark = frame.clone();
        let at = frame.windows(7).position(|text| text == b"$bytes:").unwrap();
        no_mark[at] = b'f';
        for wrong in [&shorter, &longer, &no_mark, &frame[..frame.len() - 1].to_vec()] {
            read(&wrong[..]).next::<ToPlatform>().await.unwrap_err();
        }
    }
}
