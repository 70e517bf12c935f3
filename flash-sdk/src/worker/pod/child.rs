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
        ChildEnd, ChildNumber, ChildSignal, FromPod, MAX_OUTPUT_BYTES, OutputStream, PodEvent, StartChild,
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
        let mut command = Command::new(OWN_PROGRAM);
        // As it is called, for those who list processes.
        command.arg0(std::env::args_os().next().unwrap_or_default());
        command.env(variables::ROLE, "worker").envs(environment);
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
        let watched = Watched { number, group, sender: sender.clone() };
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
}

impl Watched {
    async fn run(
        self,
        stdout: pipe::Receiver,
        stderr: pipe::Receiver,
        end: oneshot::Receiver<ChildEnd>,
    ) -> Option<ChildEnd> {
        let Self { number, group, sender } = self;
        // In order with its output.
        sender.output(FromPod::Event(PodEvent::Started { child: number })).await;
        let copying = [(stdout, OutputStream::Stdout), (stderr, OutputStream::Stderr)]
            .map(|(from, to)| AbortOnDropHandle::new(tokio::spawn(copy(from, number, to, sender.clone()))));
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

/// Sends what the worker writes. Once nobody takes it, it is read all the same: a worker must not end because it writes.
async fn copy(mut from: pipe::Receiver, child: ChildNumber, to: OutputStream, sender: Sender) {
    let (mut buffer, mut is_taken) = (BytesMut::new(), true);
    loop {
        buffer.reserve(MAX_OUTPUT_BYTES);
        // At most so much, however large the buffer is.
        match (&mut from).take(MAX_OUTPUT_BYTES as u64).read_buf(&mut buffer).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        let bytes = buffer.split().freeze();
        is_taken = is_taken && sender.output(FromPod::Output { child, to, bytes }).await;
    }
}
