//! Writes lines to stdout or stderr: a bounded queue, and a thread that writes.
//!
//! A paused terminal, or a full pipe, blocks only the thread.
use std::{
    io::{self, BufWriter, Write},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    time::Duration,
};

/// How many log lines may wait for a slow reader, and how many bytes.
const QUEUED_LOGS: usize = 20_000;
const QUEUED_BYTES: usize = 16 << 20;
/// How much is written at once.
const BUFFER_BYTES: usize = 64 << 10;
/// Extra room for lines of other kinds.
const RESERVE: usize = 1_000;
/// How long to wait for a line to be written, so that it precedes the output of others.
const SETTLING: Duration = Duration::from_millis(20);

/// How long log lines wait for others, to be written together. Under load each would otherwise wake the thread and be a
/// write of its own.
const GATHERING: Duration = Duration::from_millis(5);

/// Which lines are dropped first when nobody reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DropPriority {
    Log,
    Event,
}

/// A handle to the thread, which ends with its last handle or with the process. Cheap to clone.
#[derive(Clone)]
pub(super) struct LineWriter {
    messages: SyncSender<Message>,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    lines: AtomicUsize,
    bytes: AtomicUsize,
    /// A wait for a line timed out, and nothing was written since.
    is_stuck: AtomicBool,
}

enum Message {
    /// May wait for more of its kind.
    Log(String),
    Line(String),
    /// Without a line break.
    Raw(Vec<u8>),
    /// Answered when everything before it is written, with any error so far.
    Flush(SyncSender<Option<io::Error>>),
}

impl State {
    fn add(&self, bytes: usize) {
        self.lines.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    fn remove(&self, bytes: usize) {
        self.lines.fetch_sub(1, Ordering::Relaxed);
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    fn is_full(&self) -> bool {
        self.lines.load(Ordering::Relaxed) >= QUEUED_LOGS
            || self.bytes.load(Ordering::Relaxed) >= QUEUED_BYTES
    }
}

impl LineWriter {
    pub(super) fn start(to: impl Write + Send + 'static) -> Self {
        let (messages, queued) = sync_channel(QUEUED_LOGS + RESERVE);
        let state = Arc::<State>::default();
        let writing = state.clone();
        std::thread::spawn(move || write_lines(to, &queued, &writing));
        Self { messages, state }
    }

    /// Waits for room, however slow the reader is.
    pub(super) fn write(&self, line: String) {
        self.state.add(line.len());
        // Fails if the writing thread has ended because the reader is gone, which is not an error here.
        let _ = self.messages.send(Message::Line(line));
    }

    /// Like [`LineWriter::write`], for bytes that are not a line.
    pub(super) fn write_raw(&self, bytes: Vec<u8>) {
        self.state.add(bytes.len());
        let _ = self.messages.send(Message::Raw(bytes));
    }

    /// Never waits. Returns `false` if too many lines are waiting: this one is lost.
    pub(super) fn try_write(&self, line: String, priority: DropPriority) -> bool {
        if priority == DropPriority::Log && self.state.is_full() {
            return false;
        }
        let bytes = line.len();
        self.state.add(bytes);
        let message = match priority {
            DropPriority::Log => Message::Log(line),
            DropPriority::Event => Message::Line(line),
        };
        let sent = self.messages.try_send(message).is_ok();
        if !sent {
            self.state.remove(bytes);
        }
        sent
    }

    /// Waits a moment until everything so far is written; not at all while the reader does not read.
    pub(super) fn settle(&self) {
        if !self.state.is_stuck.load(Ordering::Relaxed) && !self.flush(SETTLING) {
            self.state.is_stuck.store(true, Ordering::Relaxed);
        }
    }

    /// Waits until everything so far is written, for a limited time.
    pub(super) fn flush(&self, limit: Duration) -> bool {
        let (written, done) = sync_channel(1);
        // If the reader does not read, the rest is lost.
        self.messages.try_send(Message::Flush(written)).is_ok() && done.recv_timeout(limit).is_ok()
    }

    /// Waits until everything is written, however slow the reader is.
    ///
    /// # Errors
    /// When it cannot be written, for example because the disk is full. A closed pipe is not an error.
    pub(super) fn finish(&self) -> io::Result<()> {
        let (written, done) = sync_channel(1);
        let sent = self.messages.send(Message::Flush(written));
        match sent.ok().and_then(|()| done.recv().ok()).flatten() {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }
}

/// Writes lines as they come, log lines a moment later: all that are waiting in one write. After the reader is gone,
/// nothing more is written.
fn write_lines(to: impl Write, queued: &Receiver<Message>, state: &State) {
    let mut to = BufWriter::with_capacity(BUFFER_BYTES, to);
    let mut wrong = None;
    while let Ok(first) = queued.recv() {
        if matches!(first, Message::Log(_)) {
            std::thread::sleep(GATHERING);
        }
        for message in std::iter::once(first).chain(queued.try_iter()) {
            match message {
                Message::Log(line) | Message::Line(line) => {
                    note(&mut wrong, to.write_all(line.as_bytes()).and_then(|()| to.write_all(b"\n")));
                    state.remove(line.len());
                }
                Message::Raw(bytes) => {
                    note(&mut wrong, to.write_all(&bytes));
                    state.remove(bytes.len());
                }
                Message::Flush(written) => {
                    note(&mut wrong, to.flush());
                    state.is_stuck.store(false, Ordering::Relaxed);
                    let _ = written.try_send(wrong.take());
                }
            }
        }
        note(&mut wrong, to.flush());
        state.is_stuck.store(false, Ordering::Relaxed);
    }
}

/// Keeps the last error, except that of a closed pipe: waiting lines are discarded then, and nobody misses them.
fn note(wrong: &mut Option<io::Error>, written: io::Result<()>) {
    if let Err(error) = written
        && error.kind() != io::ErrorKind::BrokenPipe
    {
        *wrong = Some(error);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A terminal that is paused until the other end of the channel is closed.
    struct Paused {
        resumed: Receiver<()>,
        written: SyncSender<Vec<u8>>,
    }

    impl Write for Paused {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _ = self.resumed.recv();
            let _ = self.written.send(bytes.to_vec());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_paused_reader_stops_nobody_and_costs_logs_before_anything_else() {
        let (resume, resumed) = sync_channel(0);
        let (written, shown) = sync_channel(1_000_000);
        let writer = LineWriter::start(Paused { resumed, written });
        let kept =
            (0..2 * QUEUED_LOGS).filter(|_| writer.try_write("log".to_owned(), DropPriority::Log)).count();
        assert!((QUEUED_LOGS..2 * QUEUED_LOGS).contains(&kept), "{kept}");
        assert!(writer.try_write("event".to_owned(), DropPriority::Event));
        for _ in 0..1000 {
            writer.settle();
        }
        drop(resume);
        writer.finish().unwrap();
        drop(writer);
        let text: Vec<u8> = shown.iter().flatten().collect();
        let text = String::from_utf8(text).unwrap();
        assert_eq!(text.lines().filter(|line| *line == "log").count(), kept);
        assert_eq!(text.lines().last(), Some("event"));
    }
}
