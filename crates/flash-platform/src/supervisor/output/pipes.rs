//! The pipes of one worker: copies what is in them, bounded, to the thread that makes lines of it.
use std::{
    io::{self, Read as _},
    os::fd::{AsFd, AsRawFd as _, OwnedFd},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use parking_lot::{Mutex, MutexGuard};
use tokio::{
    io::unix::AsyncFd,
    sync::{Notify, mpsc, oneshot},
};

use super::{
    attribution::{Attribution, Piece},
    line::{CurrentWork, OnLine, Source, Work},
    lines::{self, LastLines, Printer},
};

/// Bytes copied in one turn on the runtime.
const CHUNK_BYTES: usize = 16 * 1024;
/// Chunks that wait for the thread that makes lines of them.
const WAITING_CHUNKS: usize = 32;
/// Maximum size of a request's last output that becomes lines at once; of more, only the request is recorded.
const AT_ONCE_BYTES: u64 = 16 * 1024;

/// Both pipes of one worker.
pub(crate) struct PipedOutput {
    pipes: [Pipe; 2],
    current_work: CurrentWork,
    last: LastLines,
    printer: Arc<Mutex<Printer>>,
    /// Chunks for the printer.
    queued: Arc<AtomicUsize>,
}

struct Pipe {
    source: Source,
    fd: AsyncFd<std::fs::File>,
    attribution: Mutex<Attribution>,
    /// When work has ended, its output is passed on even if nothing new can be read.
    marked: Notify,
}

/// Reads both pipes until they end.
pub(crate) struct Pump {
    output: Arc<PipedOutput>,
    chunks: mpsc::Sender<(Source, Piece)>,
    /// Answered when all lines are out.
    printed: oneshot::Receiver<()>,
}

impl PipedOutput {
    /// Takes over the reading ends. Nothing is read before the pump runs.
    pub(crate) fn new(
        stdout: OwnedFd,
        stderr: OwnedFd,
        current_work: CurrentWork,
        on_line: OnLine,
    ) -> io::Result<(Arc<Self>, Pump)> {
        let pipes = [pipe(Source::Stdout, stdout)?, pipe(Source::Stderr, stderr)?];
        let last = LastLines::default();
        let (chunks, waiting) = mpsc::channel(WAITING_CHUNKS);
        let printer = Arc::new(Mutex::new(Printer::new(on_line, last.clone())));
        let queued = Arc::<AtomicUsize>::default();
        let printed = lines::print_all(printer.clone(), waiting, queued.clone())?;
        let output = Arc::new(Self { pipes, current_work, last, printer, queued });
        Ok((output.clone(), Pump { output, chunks, printed }))
    }

    /// The current work is about to end: all output so far belongs to it, including an incomplete last line. Takes
    /// limited time, however much was printed.
    pub(crate) fn work_ends(&self) {
        let work = (self.current_work)();
        for pipe in &self.pipes {
            let mut attribution = pipe.attribution();
            let waiting = waiting_bytes(&pipe.fd);
            if !self.print_at_once(pipe, &mut attribution, waiting, work.as_ref()) {
                attribution.work_ends(waiting, work.clone());
                pipe.marked.notify_one();
            }
        }
    }

    /// `false` where that would take long, or something else comes before.
    fn print_at_once(
        &self,
        pipe: &Pipe,
        attribution: &mut Attribution,
        waiting: u64,
        work: Option<&Work>,
    ) -> bool {
        let is_next = attribution.is_settled() && self.queued.load(Ordering::Acquire) == 0;
        if !is_next || waiting > AT_ONCE_BYTES {
            return false;
        }
        // Locked while its thread waits for a receiver of lines.
        let Some(mut printer) = self.printer.try_lock() else { return false };
        let mut bytes = vec![0; usize::try_from(waiting).unwrap_or(0)];
        // The pump sees an end or error by itself.
        let count = if bytes.is_empty() { 0 } else { pipe.fd.get_ref().read(&mut bytes).unwrap_or(0) };
        bytes.truncate(count);
        printer.print(pipe.source, &attribution.end(bytes, work.cloned()));
        true
    }

    /// The last lines of stderr.
    pub(crate) fn last_lines(&self) -> Vec<String> {
        self.last.lock().iter().cloned().collect()
    }
}

impl Pump {
    /// Reads until both pipes end, and until the lines of all that was read are out.
    pub(crate) async fn run(self) {
        let Self { output, chunks, printed } = self;
        let [stdout, stderr] = &output.pipes;
        tokio::join!(output.read(stdout, &chunks), output.read(stderr, &chunks));
        drop(chunks);
        let _ = printed.await;
    }
}

impl PipedOutput {
    async fn read(&self, pipe: &Pipe, chunks: &mpsc::Sender<(Source, Piece)>) {
        // If there is no room for another chunk, nothing is read, and only the worker waits.
        while let Ok(room) = chunks.reserve().await {
            let mut ready = tokio::select! {
                biased;
                () = pipe.marked.notified() => None,
                ready = pipe.fd.readable() => match ready {
                    Ok(ready) => Some(ready),
                    Err(_) => return,
                },
            };
            match self.take(pipe) {
                Ok(Some(piece)) => {
                    let is_last = piece.is_last;
                    room.send((pipe.source, piece));
                    if is_last {
                        return;
                    }
                    // There may be endless output, so other tasks get a turn first.
                    tokio::task::yield_now().await;
                }
                Ok(None) => {
                    if let Some(ready) = &mut ready {
                        ready.clear_ready();
                    }
                }
                Err(_) => return,
            }
        }
    }

    /// One chunk, if available now.
    fn take(&self, pipe: &Pipe) -> io::Result<Option<Piece>> {
        let mut attribution = pipe.attribution();
        if let Some(end) = attribution.due() {
            self.queued.fetch_add(1, Ordering::AcqRel);
            return Ok(Some(end));
        }
        let mut bytes = vec![0; attribution.room(CHUNK_BYTES)];
        let count = loop {
            match pipe.fd.get_ref().read(&mut bytes) {
                Ok(count) => break count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        };
        bytes.truncate(count);
        let piece = attribution.read(bytes, || (self.current_work)());
        // Before the lock is released, so that nothing overtakes it.
        self.queued.fetch_add(1, Ordering::AcqRel);
        Ok(Some(piece))
    }
}

impl Pipe {
    fn attribution(&self) -> MutexGuard<'_, Attribution> {
        self.attribution.lock()
    }
}

/// The number of bytes in the pipe now.
fn waiting_bytes(pipe: &AsyncFd<std::fs::File>) -> u64 {
    let mut count: nix::libc::c_int = 0;
    // SAFETY: FIONREAD writes one int, for which there is room.
    let asked = unsafe { nix::libc::ioctl(pipe.as_raw_fd(), nix::libc::FIONREAD, &raw mut count) };
    match asked {
        0 => u64::try_from(count).unwrap_or(0),
        _ => 0,
    }
}

fn pipe(source: Source, fd: OwnedFd) -> io::Result<Pipe> {
    use nix::fcntl::{FcntlArg, OFlag, fcntl};
    let flags = OFlag::from_bits_retain(fcntl(fd.as_fd(), FcntlArg::F_GETFL)?);
    fcntl(fd.as_fd(), FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
    // Not tokio's own pipe type: its `try_read` trusts readiness that the event loop has not seen yet, and what
    // was marked as there must be read.
    // SAFETY: the file owns its descriptor and keeps the same one open until it is dropped.
    let fd = unsafe { AsyncFd::register(std::fs::File::from(fd))? };
    Ok(Pipe { source, fd, attribution: Mutex::default(), marked: Notify::new() })
}

#[cfg(test)]
mod tests;
