//! The worker in a pod: the same program as a child of the first process.
use std::{
    os::unix::process::CommandExt as _,
    process::{Command, Stdio},
    time::Duration,
};

use bytes::BytesMut;
use flash_protocol::{
    variables,
    wire::pod::{
        ChildEnd, ChildNumber, ChildSignal, FromPod, MAX_MARK_BYTES, MAX_OUTPUT_BYTES, MarkReader,
        OutputStream, Part, PodEvent, PodWork, StartChild,
    },
};
use nix::{
    sys::signal::{Signal, kill, killpg},
    unistd::Pid,
};
use tokio::{io::AsyncReadExt as _, net::unix::pipe, sync::oneshot, task::JoinHandle};
use tokio_util::task::AbortOnDropHandle;

use super::{connection::Sender, reaper::Reaper};

/// How long output may still be read after the end: a process that has left the group may hold the pipe open.
const LAST_OUTPUT: Duration = Duration::from_secs(1);
/// How much is read at once: with what was held back of a mark, it fits into a frame.
const READ_BYTES: usize = MAX_OUTPUT_BYTES - MAX_MARK_BYTES;
/// The program of this process, even if its file was replaced.
const OWN_PROGRAM: &str = "/proc/self/exe";

/// See the module.
pub(super) struct Child {
    number: ChildNumber,
    /// The worker leads a process group of its own.
    group: Pid,
    /// Ends when the worker has ended and its output is read.
    watching: JoinHandle<Option<ChildEnd>>,
}

impl Child {
    /// Starts it.
    ///
    /// # Errors
    /// Why it cannot be started.
    pub(super) fn start(start: StartChild, reaper: &Reaper, sender: &Sender) -> Result<Self, String> {
        let StartChild { child: number, environment } = start;
        let nonce = uuid::Uuid::new_v4().simple().to_string();
        let mut command = Command::new(OWN_PROGRAM);
        // As it is called, for those who list processes.
        command.arg0(std::env::args_os().next().unwrap_or_default());
        command.env(variables::ROLE, "worker").env(variables::OUTPUT_MARKS, &nonce).envs(environment);
        // The worker reaches the platform with a key of its own.
        command.env_remove(variables::POD_URL).env_remove(variables::POD_KEY);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        let mut pipes = None;
        let (pid, end) = reaper
            .start_child(|| {
                let mut child = command.spawn()?;
                pipes = child.stdout.take().zip(child.stderr.take());
                // Dropped without a wait: the reaper collects it.
                i32::try_from(child.id()).map_err(std::io::Error::other)
            })
            .map_err(|error| error.to_string())?;
        let group = Pid::from_raw(pid);
        let (stdout, stderr) = pipes.ok_or("it has no output")?;
        let opened = |pipe: std::os::fd::OwnedFd| {
            pipe::Receiver::from_owned_fd(pipe).map_err(|error| error.to_string())
        };
        let (stdout, stderr) = (opened(stdout.into())?, opened(stderr.into())?);
        let watched = Watched { number, group, sender: sender.clone(), nonce };
        Ok(Self { number, group, watching: tokio::spawn(watched.run(stdout, stderr, end)) })
    }

    /// Which one it is.
    pub(super) fn number(&self) -> ChildNumber {
        self.number
    }

    /// Sends a signal to it and everything that it started.
    pub(super) fn signal(&self, signal: ChildSignal) {
        let signal = match signal {
            ChildSignal::Terminate => Signal::SIGTERM,
            ChildSignal::Kill => Signal::SIGKILL,
        };
        // Fails if nothing of it is left, which is fine.
        let _ = killpg(self.group, signal);
    }

    /// Waits until it has ended and its output is sent, and says how it ended. Can be called again if the future was
    /// dropped, and not after its result.
    pub(super) async fn ended(&mut self) -> Option<ChildEnd> {
        // Fails if the task panicked: then there is nothing to wait for either.
        (&mut self.watching).await.ok().flatten()
    }
}

/// What happens beside a running worker.
struct Watched {
    number: ChildNumber,
    group: Pid,
    sender: Sender,
    /// Of the marks in its output.
    nonce: String,
}

impl Watched {
    async fn run(
        self,
        stdout: pipe::Receiver,
        stderr: pipe::Receiver,
        end: oneshot::Receiver<ChildEnd>,
    ) -> Option<ChildEnd> {
        let Self { number, group, sender, nonce } = self;
        // In order with its output.
        sender.output(FromPod::Event(PodEvent::Started { child: number })).await;
        let copying = [(stdout, OutputStream::Stdout), (stderr, OutputStream::Stderr)].map(|(from, to)| {
            let copy = Copy::new(number, to, sender.clone());
            let marks = MarkReader::new(&nonce);
            AbortOnDropHandle::new(tokio::spawn(copy.run(from, marks)))
        });
        // The reaper ends with the pod alone.
        let end = end.await.ok()?;
        kill_rest(group);
        let _ = tokio::time::timeout(LAST_OUTPUT, futures_util::future::join_all(copying)).await;
        Some(end)
    }
}

/// Kills what an ended worker has left behind. In a pod that is everything but this process; elsewhere, as in a test, its
/// process group.
fn kill_rest(group: Pid) {
    let _ = killpg(group, Signal::SIGKILL);
    if std::process::id() == 1 {
        let _ = kill(Pid::from_raw(-1), Signal::SIGKILL);
    }
}

/// Sends what the worker writes to one stream, and what it is for, until the stream ends.
struct Copy {
    child: ChildNumber,
    to: OutputStream,
    sender: Sender,
    /// What the next output is for.
    work: Option<PodWork>,
    /// What the platform takes it to be for.
    told: Option<PodWork>,
    /// Whether the last line is incomplete.
    is_within_line: bool,
    /// Once nobody takes it, it is read all the same: a worker must not end because it writes.
    is_taken: bool,
}

impl Copy {
    fn new(child: ChildNumber, to: OutputStream, sender: Sender) -> Self {
        Self { child, to, sender, work: None, told: None, is_within_line: false, is_taken: true }
    }

    async fn run(mut self, mut from: pipe::Receiver, mut marks: MarkReader) {
        let mut buffer = BytesMut::new();
        loop {
            buffer.reserve(READ_BYTES);
            // At most so much, however large the buffer is.
            match (&mut from).take(READ_BYTES as u64).read_buf(&mut buffer).await {
                Ok(0) | Err(_) => break,
                Ok(_) => {}
            }
            for part in marks.read(&buffer.split()) {
                self.part(part).await;
            }
        }
        if let Some(rest) = marks.end() {
            self.part(rest).await;
        }
    }

    async fn part(&mut self, part: Part) {
        let (child, to) = (self.child, self.to);
        match part {
            Part::Work(work) => {
                self.work = work;
                // Most works print nothing: what they are is said with their output. But a line that is incomplete ends here.
                if self.is_within_line {
                    self.tell().await;
                }
            }
            Part::Text(text) => {
                self.tell().await;
                self.is_within_line = text.last() != Some(&b'\n');
                self.send(FromPod::Output { child, to, bytes: text.into() }).await;
            }
        }
    }

    /// Says what the next output is for, if that has changed.
    async fn tell(&mut self) {
        if self.told != self.work {
            self.is_within_line = false;
            self.told.clone_from(&self.work);
            let (child, to, work) = (self.child, self.to, self.work.clone());
            self.send(FromPod::Event(PodEvent::Work { child, to, work })).await;
        }
    }

    async fn send(&mut self, frame: FromPod) {
        self.is_taken = self.is_taken && self.sender.output(frame).await;
    }
}
