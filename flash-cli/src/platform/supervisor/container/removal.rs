//! The removal of containers whose `flash` is gone, done by the lifeline. Blocks.
use std::{
    collections::BTreeSet,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

use super::super::child::{signal_group, signal_process};

/// How long clients may take to end once they are asked, and an engine to remove containers.
const CLIENTS: Duration = Duration::from_secs(3);
const ENGINE: Duration = Duration::from_secs(20);
const BETWEEN_LOOKS: Duration = Duration::from_millis(10);

/// The words by which containers are removed; their names follow.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::platform::supervisor) struct Removal {
    pub program: String,
    pub arguments: Vec<String>,
}

impl Removal {
    /// Removes containers, and ends their clients.
    ///
    /// A client may be about to make a container. Killed in the midst of it, podman leaves a process behind
    /// that it knows nothing of; asked to end, it finishes first. So containers are removed twice.
    pub(in crate::platform::supervisor) fn end(
        &self,
        containers: &BTreeSet<String>,
        clients: &BTreeSet<i32>,
    ) {
        if containers.is_empty() {
            return;
        }
        for client in clients {
            signal_process(*client, Signal::SIGTERM);
        }
        self.remove(containers);
        let until = Instant::now() + CLIENTS;
        while Instant::now() < until && clients.iter().any(|client| is_there(*client)) {
            std::thread::sleep(BETWEEN_LOOKS);
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
        // Nobody is there to be told of a failure.
        let Ok(mut engine) = command.spawn() else { return };
        let until = Instant::now() + ENGINE;
        while Instant::now() < until {
            match engine.try_wait() {
                Ok(None) => std::thread::sleep(BETWEEN_LOOKS),
                _ => return,
            }
        }
    }
}

/// Whether a process runs. One that nobody reaps has ended.
fn is_there(process: i32) -> bool {
    if kill(Pid::from_raw(process), None).is_err() {
        return false;
    }
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    let state = stat.rsplit_once(')').and_then(|(_, rest)| rest.split_whitespace().next());
    !matches!(state, Some("Z" | "X"))
}
