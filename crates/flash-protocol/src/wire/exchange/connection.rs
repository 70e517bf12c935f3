//! Framing over any byte stream. One task drives both directions of a connection: it hands over every frame that has
//! arrived, and then writes everything that is queued, in one write.
use std::{
    collections::VecDeque,
    io,
    pin::{Pin, pin},
    task::{Context, Poll, ready},
};

use bytes::{Buf as _, Bytes, BytesMut};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite};
use tokio::sync::mpsc;

use super::{
    super::payload::{Attachments, reading_frame, writing_frame},
    MAX_FRAME_BYTES, READS_SHORT,
    short::Frame,
};

/// The bit of a frame's length that says that attachments follow its JSON.
const HAS_ATTACHMENTS: u32 = 1 << 31;
/// The bit that says that it has its short form.
const IS_SHORT: u32 = 1 << 30;

/// Bytes of a frame's length.
const LENGTH_BYTES: usize = 4;

/// Bytes that one read may take. Attachments of a shorter frame are copied, because the buffer also has other frames.
const READ_BYTES: usize = 64 * 1024;

/// Room for the frames of one write.
const WRITE_BYTES: usize = 16 * 1024;

/// A larger buffer is given back after use, instead of being kept for the life of the connection.
const KEPT_BUFFER_BYTES: usize = 1024 * 1024;

/// Frames that are taken from the queue at a time.
const BURST: usize = 128;

/// What the other side reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrameFormat {
    /// JSON only, as workers and platforms of earlier versions.
    Json,
    /// Attachments beside the JSON.
    Attachments,
    /// Frames in their short form too.
    Short,
}

impl FrameFormat {
    /// What another side reads that sent this value of [`super::ATTACHMENTS_HEADER`], or none.
    pub fn of_header(value: Option<&[u8]>) -> Self {
        match value {
            None => Self::Json,
            Some(value) if value == READS_SHORT.as_bytes() => Self::Short,
            Some(_) => Self::Attachments,
        }
    }

    /// Whether frames may have attachments.
    pub fn has_attachments(self) -> bool {
        self != Self::Json
    }
}

/// Which side ended a connection in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndedBy {
    /// Everything queued was written: [`Writer::end`] was called, or all handles were dropped.
    ThisSide,
    /// The other side sends nothing more.
    OtherSide,
}

/// Calls its second argument once, which decodes a frame of so many bytes: the way to do so beside other work.
pub type Decoding = fn(usize, &mut dyn FnMut());

fn in_place(_: usize, decode: &mut dyn FnMut()) {
    decode();
}

/// Describes the attachments of a frame.
#[derive(Serialize, Deserialize)]
struct Head {
    mark: Box<str>,
    lengths: Vec<u32>,
}

/// A cheap handle to send frames. Its queue is bounded by the user's work in flight: one frame per job, call or request.
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

/// Frames that wait to be written. Dropping it closes the connection for all handles.
pub struct Queued<T> {
    frames: mpsc::UnboundedReceiver<Option<T>>,
    format: FrameFormat,
    /// Empty between two polls.
    burst: Vec<Option<T>>,
    is_ended: bool,
}

/// Returns a handle to send frames in this format, and their queue for [`serve`].
pub fn queue<T>(format: FrameFormat) -> (Writer<T>, Queued<T>) {
    let (sender, frames) = mpsc::unbounded_channel();
    (Writer { frames: sender, format }, Queued { frames, format, burst: Vec::new(), is_ended: false })
}

impl<T: Frame> Queued<T> {
    /// Encodes what is queued; pending if nothing is. Afterwards, nothing or more bytes may be there to write.
    fn poll_encode(&mut self, context: &mut Context<'_>, into: &mut Outgoing) -> Poll<io::Result<()>> {
        if self.is_ended {
            return Poll::Ready(Ok(()));
        }
        let count = ready!(self.frames.poll_recv_many(context, &mut self.burst, BURST));
        self.is_ended = count == 0;
        for frame in self.burst.drain(..) {
            match frame {
                Some(frame) => into.append(&frame, self.format)?,
                None => self.is_ended = true,
            }
        }
        Poll::Ready(Ok(()))
    }
}

/// Encoded frames on their way to the stream. Attachments are written from where they are.
struct Outgoing {
    bytes: Vec<u8>,
    /// How many of them are written.
    written: usize,
    /// Attachments, each with the number of bytes that it follows.
    parts: VecDeque<(usize, Bytes)>,
}

impl Outgoing {
    fn new() -> Self {
        Self { bytes: Vec::with_capacity(WRITE_BYTES), written: 0, parts: VecDeque::new() }
    }

    fn append<T: Frame>(&mut self, frame: &T, format: FrameFormat) -> io::Result<()> {
        let parts = append(&mut self.bytes, frame, format)?;
        let end = self.bytes.len();
        self.parts.extend(parts.into_iter().map(|part| (end, part)));
        Ok(())
    }

    /// Writes all of it.
    fn poll_write<W: AsyncWrite + Unpin>(
        &mut self,
        stream: &mut W,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            let until = self.parts.front().map_or(self.bytes.len(), |(place, _)| *place);
            if self.written < until {
                let rest = &self.bytes[self.written..until];
                self.written += ready!(poll_write_some(stream, context, rest))?;
            } else if let Some((_, part)) = self.parts.front_mut().filter(|(_, part)| !part.is_empty()) {
                let count = ready!(poll_write_some(stream, context, part))?;
                part.advance(count);
            } else if self.parts.pop_front().is_none() {
                break;
            }
        }
        if !self.bytes.is_empty() {
            ready!(Pin::new(stream).poll_flush(context))?;
        }
        if self.bytes.capacity() > KEPT_BUFFER_BYTES {
            *self = Self::new();
        }
        self.bytes.clear();
        self.written = 0;
        Poll::Ready(Ok(()))
    }
}

fn poll_write_some<W: AsyncWrite + Unpin>(
    stream: &mut W,
    context: &mut Context<'_>,
    bytes: &[u8],
) -> Poll<io::Result<usize>> {
    match ready!(Pin::new(stream).poll_write(context, bytes))? {
        0 => Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
        count => Poll::Ready(Ok(count)),
    }
}

/// Hands each frame that arrives on this stream to `handle`, and writes what is queued, until one side ends the
/// connection. The stream is closed then.
///
/// # Errors
/// If the connection breaks, or a frame is too long or of another type.
pub async fn serve<In, Out, S>(stream: S, queued: Queued<Out>, handle: impl FnMut(In)) -> io::Result<EndedBy>
where
    In: Frame,
    Out: Frame,
    S: AsyncRead + AsyncWrite + Unpin,
{
    serve_decoding(stream, queued, in_place, handle).await
}

/// Like [`serve`], and decodes frames as `decoding` does.
///
/// # Errors
/// As for [`serve`].
pub async fn serve_decoding<In, Out, S>(
    mut stream: S,
    mut queued: Queued<Out>,
    decoding: Decoding,
    mut handle: impl FnMut(In),
) -> io::Result<EndedBy>
where
    In: Frame,
    Out: Frame,
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (mut incoming, mut outgoing) = (Incoming::new(decoding), Outgoing::new());
    std::future::poll_fn(|context| {
        // Everything that has arrived is handled before anything is written, because it may cause more to write. The
        // runtime bounds how much a stream has ready in one turn.
        while let Poll::Ready(frame) = incoming.poll_next(&mut stream, context) {
            match frame? {
                Some(frame) => handle(frame),
                None => return Poll::Ready(Ok(EndedBy::OtherSide)),
            }
        }
        loop {
            ready!(outgoing.poll_write(&mut stream, context))?;
            if queued.is_ended {
                ready!(Pin::new(&mut stream).poll_shutdown(context))?;
                return Poll::Ready(Ok(EndedBy::ThisSide));
            }
            ready!(queued.poll_encode(context, &mut outgoing))?;
        }
    })
    .await
}

/// Reads frames; returns `None` at the end of the connection.
pub struct Reader<R> {
    stream: R,
    incoming: Incoming,
}

/// Reads frames from this stream.
pub fn read<R: AsyncRead + Unpin>(stream: R) -> Reader<R> {
    Reader { stream, incoming: Incoming::new(in_place) }
}

impl<R: AsyncRead + Unpin> Reader<R> {
    /// The next frame; `None` at the end of the stream.
    ///
    /// # Errors
    /// If the connection breaks, or the frame is too long or of another type.
    pub async fn next<T: Frame>(&mut self) -> io::Result<Option<T>> {
        std::future::poll_fn(|context| self.incoming.poll_next(&mut self.stream, context)).await
    }
}

/// Bytes that have arrived.
struct Incoming {
    buffer: BytesMut,
    decoding: Decoding,
}

impl Incoming {
    fn new(decoding: Decoding) -> Self {
        Self { buffer: BytesMut::new(), decoding }
    }

    fn poll_next<T: Frame, R: AsyncRead + Unpin>(
        &mut self,
        stream: &mut R,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<Option<T>>> {
        loop {
            let missing = match self.frame()? {
                Whole::Frame(frame) => return Poll::Ready(Ok(Some(frame))),
                Whole::Missing(missing) => missing,
            };
            self.make_room(missing);
            // It keeps nothing between polls.
            if ready!(pin!(stream.read_buf(&mut self.buffer)).poll(context))? == 0 {
                return Poll::Ready(match self.buffer.len() < LENGTH_BYTES {
                    true => Ok(None),
                    false => Err(io::ErrorKind::UnexpectedEof.into()),
                });
            }
        }
    }

    /// So that this many bytes fit, and a read is worth its while.
    fn make_room(&mut self, missing: usize) {
        if self.buffer.is_empty() && self.buffer.capacity() > KEPT_BUFFER_BYTES {
            self.buffer = BytesMut::new();
        }
        let room = self.buffer.capacity() - self.buffer.len();
        if room < missing.max(READ_BYTES / 4) {
            self.buffer.reserve(missing.max(READ_BYTES));
        }
    }

    /// The first frame, if all of it is there.
    fn frame<T: Frame>(&mut self) -> io::Result<Whole<T>> {
        let Some(length) = self.buffer.first_chunk().map(|length| u32::from_be_bytes(*length)) else {
            return Ok(Whole::Missing(LENGTH_BYTES - self.buffer.len()));
        };
        let total = (length & !(HAS_ATTACHMENTS | IS_SHORT)) as usize;
        if total > MAX_FRAME_BYTES {
            return Err(io::Error::other(format!("frame of {total} bytes, the limit is {MAX_FRAME_BYTES}")));
        }
        let end = LENGTH_BYTES + total;
        if self.buffer.len() < end {
            return Ok(Whole::Missing(end - self.buffer.len()));
        }
        if length & HAS_ATTACHMENTS != 0 {
            return with_attachments(self.buffer.split_to(end).freeze().slice(LENGTH_BYTES..))
                .map(Whole::Frame);
        }
        let (bytes, mut decoded) = (&self.buffer[LENGTH_BYTES..end], None);
        (self.decoding)(total, &mut || {
            decoded = Some(match length & IS_SHORT {
                0 => serde_json::from_slice(bytes).map_err(io::Error::from),
                _ => T::read_short(bytes),
            });
        });
        let frame = decoded.ok_or_else(|| io::Error::other("the frame was not decoded"))??;
        self.buffer.advance(end);
        Ok(Whole::Frame(frame))
    }
}

enum Whole<T> {
    Frame(T),
    /// This many bytes are missing, or more.
    Missing(usize),
}

/// Decodes a frame that has attachments.
fn with_attachments<T: DeserializeOwned>(mut rest: Bytes) -> io::Result<T> {
    let shares = rest.len() >= READ_BYTES;
    let head: Head = serde_json::from_slice(&block(&mut rest)?)?;
    let json = block(&mut rest)?;
    let mut parts = Vec::new();
    for length in head.lengths {
        let part = first(&mut rest, length as usize)?;
        parts.push(if shares { part } else { Bytes::copy_from_slice(&part) });
    }
    if !rest.is_empty() {
        return Err(does_not_add_up());
    }
    let attachments = Attachments::new(&head.mark, parts)
        .ok_or_else(|| io::Error::other("the mark of a frame's attachments is not one"))?;
    reading_frame(attachments, || serde_json::from_slice(&json).map_err(io::Error::from))
}

/// Takes a length and that many bytes.
fn block(rest: &mut Bytes) -> io::Result<Bytes> {
    let length = rest.try_get_u32().map_err(|_| does_not_add_up())?;
    first(rest, length as usize)
}

fn first(rest: &mut Bytes, length: usize) -> io::Result<Bytes> {
    if length > rest.len() {
        return Err(does_not_add_up());
    }
    Ok(rest.split_to(length))
}

fn does_not_add_up() -> io::Error {
    io::Error::other("the lengths within a frame do not add up to its own")
}

/// Appends a frame without its attachments, and returns them.
fn append<T: Frame>(bytes: &mut Vec<u8>, frame: &T, format: FrameFormat) -> io::Result<Vec<Bytes>> {
    let start = bytes.len();
    bytes.extend_from_slice(&[0; 4]);
    if format == FrameFormat::Short && frame.append_short(bytes) {
        set_length(bytes, start, 0, IS_SHORT)?;
        return Ok(Vec::new());
    }
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
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::super::{CallFrame, ToPlatform, ToWorker};
    use super::*;
    use crate::wire::{Payload, base64, envelope::Envelope, job::Policy, payload::attach};

    #[tokio::test]
    async fn frames_arrive_in_order_and_the_end_is_seen() {
        let (near, far) = tokio::io::duplex(64);
        let (writer, queued) = queue::<ToPlatform>(FrameFormat::Json);
        let task = tokio::spawn(serve(near, queued, |frame: ToWorker| panic!("{frame:?}")));
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
        assert_eq!(task.await.unwrap().unwrap(), EndedBy::ThisSide);
    }

    #[tokio::test]
    async fn each_frame_is_decoded_where_the_reader_wants_it_to_be() {
        static BYTES: AtomicUsize = AtomicUsize::new(0);
        let counting: Decoding = |bytes, decode| {
            BYTES.fetch_add(bytes, Ordering::Relaxed);
            decode();
        };
        let (near, far) = tokio::io::duplex(64);
        let (writer, queued) = queue::<ToPlatform>(FrameFormat::Json);
        tokio::spawn(serve(near, queued, |frame: ToWorker| panic!("{frame:?}")));
        writer.send(ToPlatform::Abandon(7));
        writer.end();
        let (_answers, queued) = queue::<ToWorker>(FrameFormat::Json);
        let mut seen = Vec::new();
        let handle = |frame: ToPlatform| seen.push(format!("{frame:?}"));
        assert_eq!(serve_decoding(far, queued, counting, handle).await.unwrap(), EndedBy::OtherSide);
        let expected = serde_json::to_string(&ToPlatform::Abandon(7)).unwrap();
        assert_eq!((seen, BYTES.load(Ordering::Relaxed)), (vec!["Abandon(7)".to_owned()], expected.len()));
    }

    #[tokio::test]
    async fn a_frame_that_is_not_decoded_ends_the_connection() {
        let bytes = b"\0\0\0\x02{}";
        let (_writer, queued) = queue::<ToPlatform>(FrameFormat::Json);
        let stream = tokio::io::join(&bytes[..], tokio::io::sink());
        let error = serve_decoding(stream, queued, |_, _| {}, |frame: ToWorker| panic!("{frame:?}")).await;
        assert!(error.unwrap_err().to_string().contains("not decoded"));
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
        let (writer, queued) = queue::<ToPlatform>(format);
        let task = tokio::spawn(serve(near, queued, |frame: ToWorker| panic!("{frame:?}")));
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
