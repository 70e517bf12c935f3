//! Removes containers whose `flash` has ended, in the lifeline process. Blocks.
use std::{
    collections::BTreeSet,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

use super::child::{signal_group, signal_process};

/// How long creating a container may take. During that time, its client is asked to end and not killed.
pub(super) const MAKING: Duration = Duration::from_secs(60);
/// How long clients may take to end (as long as creating a container takes), and an engine to remove containers.
const CLIENTS: Duration = MAKING;
const ENGINE: Duration = Duration::from_secs(20);
/// How long clients are left alone until the next removal.
const BETWEEN_REMOVALS: Duration = Duration::from_secs(5);
const BETWEEN_LOOKS: Duration = Duration::from_millis(10);

/// The words by which containers are removed; their names follow.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Removal {
    pub program: String,
    pub arguments: Vec<String>,
}

impl Removal {
    /// Removes containers, and ends their clients.
    ///
    /// A client may be creating a container. If podman is killed during that, it leaves an unknown process behind; if
    /// asked to end, it finishes first. So containers are removed until all clients have ended, and once more after
    /// that.
    pub(crate) fn end(&self, containers: &BTreeSet<String>, clients: &BTreeSet<i32>) {
        if containers.is_empty() {
            return;
        }
        let are_there = || clients.iter().any(|client| is_there(*client));
        let until = Instant::now() + CLIENTS;
        loop {
            for client in clients {
                signal_process(*client, Signal::SIGTERM);
            }
            self.remove(containers);
            let next = until.min(Instant::now() + BETWEEN_REMOVALS);
            while Instant::now() < next && are_there() {
                std::thread::sleep(BETWEEN_LOOKS);
            }
            if !are_there() || Instant::now() >= until {
                break;
            }
        }
        for client in clients {
            signal_group(*client, Signal::SIGKILL);
        }
        self.remove(containers);
    }

    fn remove(&self, containers: &BTreeSet<String>) {
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).args(containers);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        // There is nobody to report a failure to.
        let Ok(mut engine) = command.spawn() else { return };
        let until = Instant::now() + ENGINE;
        while Instant::now() < until {
            match engine.try_wait() {
                Ok(None) => std::thread::sleep(BETWEEN_LOOKS),
                _ => return,
            }
        }
        // It hangs; the next one may not.
        let _ = engine.kill();
        let _ = engine.wait();
    }
}

/// Whether a process runs. A zombie has ended.
fn is_there(process: i32) -> bool {
    if kill(Pid::from_raw(process), None).is_err() {
        return false;
    }
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    let state = stat.rsplit_once(')').and_then(|(_, rest)| rest.split_whitespace().next());
    !matches!(state, Some("Z" | "X"))
}
