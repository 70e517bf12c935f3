//! What a worker prints, line by line, tagged with the request and job it belongs to.
//!
//! A pipe says nothing of requests. While a worker serves one request, what it prints belongs to that
//! one, its last words too; so before a result is accepted the pipe is read empty ([`Output::drain`]): everything that was
//! printed before the result was sent is in it by then. Lines of our SDK's logger name their request
//! themselves.
use std::{
    collections::VecDeque,
    io::{self, Read as _},
    os::fd::{AsFd, OwnedFd},
    sync::{Arc, Mutex, PoisonError},
};

use tokio::io::unix::AsyncFd;

/// A line longer than this is cut into several.
const MAX_LINE_BYTES: usize = 64 * 1024;
/// Lines of stderr kept to tell why a worker died.
const LAST_LINES: usize = 20;

/// Which pipe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    Stdout,
    Stderr,
}

/// One line.
#[derive(Debug, Clone)]
pub(crate) struct Line {
    pub source: Source,
    pub text: String,
    /// What it was printed for, where that is certain.
    pub work: Option<Work>,
}

/// What a worker is at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Work {
    pub request_id: String,
    /// `None` for a request to a load-balanced worker.
    pub job_id: Option<String>,
}

/// Where lines go.
pub(crate) type OnLine = Arc<dyn Fn(Line) + Send + Sync>;
/// The one job or request that the worker is at in this moment, if it is one.
pub(crate) type CurrentWork = Arc<dyn Fn() -> Option<Work> + Send + Sync>;

/// Both pipes of one worker.
pub(crate) struct Output {
    pipes: [Pipe; 2],
    current_work: CurrentWork,
    on_line: OnLine,
    last: Mutex<VecDeque<String>>,
}

struct Pipe {
    source: Source,
    fd: AsyncFd<std::fs::File>,
    partial: Mutex<Vec<u8>>,
}

impl Output {
    /// Takes over the reading ends.
    pub(crate) fn new(
        stdout: OwnedFd,
        stderr: OwnedFd,
        current_work: CurrentWork,
        on_line: OnLine,
    ) -> io::Result<Self> {
        let pipes = [pipe(Source::Stdout, stdout)?, pipe(Source::Stderr, stderr)?];
        Ok(Self { pipes, current_work, on_line, last: Mutex::default() })
    }

    /// Reads until both pipes end.
    pub(crate) async fn pump(&self) {
        let [stdout, stderr] = &self.pipes;
        tokio::join!(self.pump_one(stdout), self.pump_one(stderr));
    }

    async fn pump_one(&self, pipe: &Pipe) {
        loop {
            let Ok(mut ready) = pipe.fd.readable().await else { return };
            match self.read_available(pipe) {
                Ok(true) => ready.clear_ready(),
                Ok(false) | Err(_) => return,
            }
        }
    }

    /// Reads what is there and tags it with the work of this moment.
    pub(crate) fn drain(&self) {
        for pipe in &self.pipes {
            // The pump sees an end or error by itself.
            let _ = self.read_available(pipe);
        }
    }

    /// The last lines of stderr.
    pub(crate) fn last_lines(&self) -> Vec<String> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    /// `false` at the end of the pipe.
    fn read_available(&self, pipe: &Pipe) -> io::Result<bool> {
        let mut partial = pipe.partial.lock().unwrap_or_else(PoisonError::into_inner);
        let mut chunk = [0; 16 * 1024];
        loop {
            match pipe.fd.get_ref().read(&mut chunk) {
                Ok(0) => {
                    if !partial.is_empty() {
                        let rest = std::mem::take(&mut *partial);
                        self.emit(pipe.source, &rest);
                    }
                    return Ok(false);
                }
                Ok(count) => {
                    partial.extend_from_slice(&chunk[..count]);
                    self.emit_lines(pipe.source, &mut partial);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(true),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn emit_lines(&self, source: Source, partial: &mut Vec<u8>) {
        let mut start = 0;
        while let Some(length) = partial[start..].iter().position(|byte| *byte == b'\n') {
            self.emit(source, &partial[start..start + length]);
            start += length + 1;
        }
        partial.drain(..start);
        if partial.len() > MAX_LINE_BYTES {
            let long = std::mem::take(partial);
            self.emit(source, &long);
        }
    }

    fn emit(&self, source: Source, bytes: &[u8]) {
        let text = String::from_utf8_lossy(bytes).trim_end_matches('\r').to_owned();
        if source == Source::Stderr {
            let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
            if last.len() == LAST_LINES {
                last.pop_front();
            }
            last.push_back(text.clone());
        }
        (self.on_line)(Line { source, text, work: (self.current_work)() });
    }
}

fn pipe(source: Source, fd: OwnedFd) -> io::Result<Pipe> {
    use nix::fcntl::{FcntlArg, OFlag, fcntl};
    let flags = OFlag::from_bits_retain(fcntl(fd.as_fd(), FcntlArg::F_GETFL)?);
    fcntl(fd.as_fd(), FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
    // Not tokio's own pipe type: its `try_read` trusts readiness that the event loop has not seen yet, and
    // `drain` must read what is there now.
    // SAFETY: the file owns its descriptor and keeps the same one open until it is dropped.
    let fd = unsafe { AsyncFd::register(std::fs::File::from(fd))? };
    Ok(Pipe { source, fd, partial: Mutex::default() })
}
