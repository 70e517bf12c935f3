//! A server process: starts it, finds its address, and reliably stops it.
use std::{
    fs::File,
    io::Read as _,
    net::SocketAddr,
    process::Stdio,
    thread,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, Command},
};

use crate::{command::shown, failure::Failure, output};

/// How long a server may take to stop by itself.
const STOP: Duration = Duration::from_secs(5);

/// A pipe holds 64 KiB: more than any server here prints in this time.
const BETWEEN_READS: Duration = Duration::from_millis(3);

/// A running server, the leader of its own process group. Dropping it stops the group.
pub(super) struct Server {
    pub address: SocketAddr,
    child: Child,
    group: Option<Pid>,
}

impl Server {
    /// Starts a program and waits for the line on its stdout that has its URL.
    ///
    /// # Errors
    /// When it ends, or takes too long, before it prints its address.
    pub(super) async fn start(
        command: std::process::Command,
        limit: Duration,
        url: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, Failure> {
        let line = shown(&command);
        output::say("Starting", &line);
        let mut command = Command::from(command);
        // Stdin stays open as long as this program lives: the services end with it.
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).process_group(0).kill_on_drop(true);
        let mut child = command.spawn().map_err(Failure::at(format!("cannot start `{line}`")))?;
        let group = child.id().and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw);
        let stdout = child.stdout.take();
        // From here on it is stopped on every way out.
        let mut server = Self { address: SocketAddr::from(([127, 0, 0, 1], 0)), child, group };
        let stdout = stdout.ok_or_else(|| Failure::new("a requested pipe is missing"))?;
        let mut lines = BufReader::new(stdout).lines();
        let found = tokio::time::timeout(limit, async {
            while let Ok(Some(line)) = lines.next_line().await {
                if let Some(url) = url(&line) {
                    return Some(url);
                }
            }
            None
        });
        let url = found
            .await
            .map_err(|_| {
                Failure::new(format!("`{line}` did not print its address within {} s", limit.as_secs()))
            })?
            .ok_or_else(|| Failure::new(format!("`{line}` ended before it listened")))?;
        let address = url.trim_start_matches("http://");
        server.address = address.parse().map_err(Failure::at(format!("`{url}` is not a valid address")))?;
        let stdout = lines.into_inner().into_inner().into_owned_fd().map_err(Failure::at("a pipe"))?;
        thread::spawn(move || drain(stdout.into()));
        Ok(server)
    }

    pub(super) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// The process that was started; none if it has ended.
    pub(super) fn processes(&self) -> Vec<u32> {
        self.process().into_iter().collect()
    }

    /// Its process.
    pub(super) fn process(&self) -> Option<u32> {
        self.child.id()
    }

    /// Kills it like the kernel would, and waits until it is gone. Its child processes must stop by themselves.
    pub(super) async fn kill(mut self) -> Result<(), Failure> {
        self.child.kill().await.map_err(Failure::at("cannot kill a server"))
    }

    fn signal(&self, signal: Signal) {
        if let Some(group) = self.group {
            // A group that is already gone is fine.
            let _ = killpg(group, signal);
        }
    }
}

/// Discards a server's further output: flash logs every job, and a full pipe would block it.
///
/// A thread that polls, because a reader woken by every line would use up the measured cores. Ends with the pipe.
fn drain(mut stdout: File) {
    let mut buffer = vec![0; 1 << 16];
    while stdout.read(&mut buffer).is_ok_and(|count| count > 0) {
        thread::sleep(BETWEEN_READS);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.signal(Signal::SIGTERM);
        let until = Instant::now() + STOP;
        while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < until {
            // Blocks the thread: nothing is measured any more.
            thread::sleep(Duration::from_millis(10));
        }
        self.signal(Signal::SIGKILL);
    }
}
