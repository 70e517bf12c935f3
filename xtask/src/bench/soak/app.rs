//! The app: made by `flash init`, changed as its author would, and its workers.
use std::{
    fs,
    net::SocketAddr,
    path::PathBuf,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;

use super::{
    super::{cpu, load, platform::resident_mb, programs::release, server::Server},
    traffic::route,
};
use crate::{
    command::{command, run},
    failure::Failure,
    output, workspace,
};

/// Includes a build of the app and of all that it needs.
const START: Duration = Duration::from_secs(900);

/// The limit of every wait: for the build after a change, and for workers that have nothing to do.
const PATIENCE: Duration = Duration::from_secs(300);

const LOOK: Duration = Duration::from_millis(100);

/// The worker type of the template's route has at least one worker.
const WORKERS_AT_REST: usize = 1;

/// A served app, in a directory of its own.
pub(super) struct App {
    server: Server,
    directory: PathBuf,
    platform: u32,
    greeting: String,
    changes: u32,
}

impl App {
    /// Makes the app and starts `flash run`.
    pub(super) async fn start() -> Result<Self, Failure> {
        let directory = std::env::temp_dir().join(format!("flash-soak-{}", std::process::id()));
        let flash = release("flash").display().to_string();
        let to = directory.display().to_string();
        run(&mut command(
            &flash,
            &["init", &to, "--template", "hello", "--name", "soak", "--yes", "--no-git"],
        ))?;
        let mut serve = command(&flash, &["run", &to]);
        serve.args(["--json", "--host", "127.0.0.1", "--port", "0", "--drain-seconds", "5"]);
        // What the workspace has compiled can be used again.
        serve.env("CARGO_TARGET_DIR", workspace::target());
        let server = Server::start(serve, START, |line| {
            let event: Value = serde_json::from_str(line).ok()?;
            (event["event"] == "ready").then(|| event["url"].as_str().map(str::to_owned))?
        })
        .await?;
        let platform = server.process().ok_or_else(|| Failure::new("`flash run` ended at once"))?;
        Ok(Self { server, directory, platform, greeting: "Hello".to_owned(), changes: 0 })
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.server.address
    }

    /// Changes what the function says, and waits until the new code answers.
    pub(super) async fn change_code(&mut self) -> Result<(), Failure> {
        self.changes += 1;
        let greeting = format!("Hello{}", self.changes);
        let source = self.directory.join("src/lib.rs");
        let text = fs::read_to_string(&source).map_err(Failure::at(source.display()))?;
        let text = text.replace(&format!("\"{}, ", self.greeting), &format!("\"{greeting}, "));
        fs::write(&source, text).map_err(Failure::at(source.display()))?;
        self.greeting = greeting;
        let until = Instant::now() + PATIENCE;
        while !self.says(&self.greeting).await {
            if Instant::now() > until {
                return Err(Failure::new(format!(
                    "the changed code does not answer after {} s",
                    PATIENCE.as_secs()
                )));
            }
            tokio::time::sleep(LOOK).await;
        }
        output::say("Reloaded", &self.greeting);
        Ok(())
    }

    async fn says(&self, greeting: &str) -> bool {
        let answer = load::once(&route(self.address())).await;
        answer.is_ok_and(|(body, _)| String::from_utf8_lossy(&body).contains(&format!("{greeting}, Ada!")))
    }

    /// Kills one of its workers; the number chooses which. Returns how many were killed.
    pub(super) fn kill_a_worker(&self, number: u32) -> Result<u32, Failure> {
        let workers = cpu::workers(self.platform);
        let Some(chosen) = workers.get(number as usize % workers.len().max(1)) else { return Ok(0) };
        let process = i32::try_from(*chosen).map_err(Failure::at("a process"))?;
        // One that has just ended by itself is as good.
        let killed = kill(Pid::from_raw(process), Signal::SIGKILL).is_ok();
        output::say("Killed", &format!("a worker, process {process}"));
        Ok(u32::from(killed))
    }

    /// Waits until no worker is left that nobody needs.
    pub(super) async fn rest(&self) -> Result<(), Failure> {
        let until = Instant::now() + PATIENCE;
        while cpu::workers(self.platform).len() > WORKERS_AT_REST {
            if Instant::now() > until {
                return Err(Failure::new("workers that have nothing to do are still there"));
            }
            tokio::time::sleep(LOOK).await;
        }
        Ok(())
    }

    pub(super) fn resident_mb(&self) -> Result<f64, Failure> {
        resident_mb(self.platform).ok_or_else(|| Failure::new("`flash run` has ended"))
    }

    /// Open files of the platform.
    pub(super) fn open_files(&self) -> Result<usize, Failure> {
        let directory = format!("/proc/{}/fd", self.platform);
        Ok(fs::read_dir(&directory).map_err(Failure::at(&directory))?.count())
    }
}

impl Drop for App {
    fn drop(&mut self) {
        // Watched until the server is stopped, which comes next; `flash run` does not mind.
        let _ = fs::remove_dir_all(&self.directory);
    }
}
