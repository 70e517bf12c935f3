//! A server process: started, found, and stopped for certain.
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

/// What a server gets to end by itself.
const STOP: Duration = Duration::from_secs(5);

/// A pipe holds 64 KiB: in this time that is more than any server here prints.
const BETWEEN_READS: Duration = Duration::from_millis(3);

/// A running server, the leader of a process group of its own. Stopped on drop, with its group.
pub(super) struct Server {
    pub address: SocketAddr,
    child: Child,
    group: Option<Pid>,
}

impl Server {
    /// Starts a program and waits for the line on its stdout that has its URL.
    ///
    /// # Errors
    /// When it ends, or takes too long, before it says where it listens.
    pub(super) async fn start(
        command: std::process::Command,
        limit: Duration,
        url: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, Failure> {
        let line = shown(&command);
        output::say("Starting", &line);
        let mut command = Command::from(command);
        // Stdin stays open for as long as this program lives: the services end with it.
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).process_group(0).kill_on_drop(true);
        let mut child = command.spawn().map_err(Failure::at(format!("`{line}` cannot be started")))?;
        let group = child.id().and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw);
        let stdout = child.stdout.take();
        // From here on it is stopped on every way out.
        let mut server = Self { address: SocketAddr::from(([127, 0, 0, 1], 0)), child, group };
        let stdout = stdout.ok_or_else(|| Failure::new("a pipe that was asked for is missing"))?;
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
                Failure::new(format!("`{line}` did not say where it listens within {} s", limit.as_secs()))
            })?
            .ok_or_else(|| Failure::new(format!("`{line}` ended before it listened")))?;
        let address = url.trim_start_matches("http://");
        server.address = address.parse().map_err(Failure::at(format!("`{url}` is no address")))?;
        let stdout = lines.into_inner().into_inner().into_owned_fd().map_err(Failure::at("a pipe"))?;
        thread::spawn(move || drain(stdout.into()));
        Ok(server)
    }

    pub(super) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Its process.
    pub(super) fn process(&self) -> Option<u32> {
        self.child.id()
    }

    /// Kills it as the kernel would, and waits until it is gone. What it started is its own to bring down.
    pub(super) async fn kill(mut self) -> Result<(), Failure> {
        self.child.kill().await.map_err(Failure::at("cannot kill a server"))
    }

    fn signal(&self, signal: Signal) {
        if let Some(group) = self.group {
            // A group that is gone is what is wanted.
            let _ = killpg(group, signal);
        }
    }
}

/// Throws away what a server goes on printing: flash logs every job, and a full pipe would stop it.
///
/// A thread that looks now and then, for a reader that is woken by every line would take from the cores
/// what is measured. Ends with the pipe.
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
