//! The cluster's programs as processes that outlive the task: started, looked at, ended.
use std::{
    fs::{self, File},
    path::PathBuf,
    process::Stdio,
    time::{Duration, Instant},
};

use nix::{errno::Errno, sys::signal::Signal, unistd::Pid};
use serde::{Deserialize, Serialize};

use super::{
    network,
    place::{Place, write},
};
use crate::{
    command::{command, shown},
    failure::Failure,
    output,
};

/// How long a process may take to end by itself.
const END: Duration = Duration::from_secs(15);
/// The pause between two looks at what is waited for.
const LOOK: Duration = Duration::from_millis(50);
/// How many of its last lines are shown of a process that has ended.
const LAST_LINES: usize = 10;

/// Whose network a process has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Network {
    Machine,
    Node,
}

/// One process of the cluster, by its name.
pub(super) struct Daemon(pub &'static str);

/// A process, even if its number is used again.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Identity {
    pid: i32,
    /// When it started, in the kernel's ticks since the machine did.
    started: u64,
}

impl Daemon {
    /// Starts it. Its output goes to its log.
    ///
    /// # Errors
    /// When its program cannot be started.
    pub(super) fn start(
        &self,
        network: Network,
        program: &str,
        arguments: &[String],
        variables: &[(&str, String)],
    ) -> Result<(), Failure> {
        let log = self.log();
        write(&log, b"")?;
        let file = File::options().append(true).open(&log).map_err(Failure::at(log.display()))?;
        // Each replaces itself with the next: the process that is started is the program.
        let mut started = command("setsid", &[]);
        if network == Network::Node {
            started.arg("nsenter").arg(network::within());
        }
        started.arg(program).args(arguments).envs(variables.iter().map(|(name, value)| (name, value)));
        started.current_dir(Place::directory()).stdin(Stdio::null());
        started.stdout(file.try_clone().map_err(Failure::at(log.display()))?).stderr(file);
        let line = shown(&started);
        let child = started.spawn().map_err(Failure::at(&line))?;
        let pid = i32::try_from(child.id()).map_err(Failure::at(&line))?;
        let identity = Identity::of(pid).ok_or_else(|| self.ended())?;
        let text = serde_json::to_vec(&identity).map_err(Failure::at(self.0))?;
        output::say("Started", &format!("{}, process {pid}", self.0));
        write(&self.file(), &text)
    }

    /// The process, if it runs.
    pub(super) fn running(&self) -> Option<i32> {
        let recorded: Identity = serde_json::from_slice(&fs::read(self.file()).ok()?).ok()?;
        let there = Identity::of(recorded.pid)?;
        (there == recorded).then_some(there.pid)
    }

    /// Ends it, and waits until it is gone.
    ///
    /// # Errors
    /// When it does not end, even if killed.
    pub(super) fn stop(&self) -> Result<(), Failure> {
        for signal in [Signal::SIGTERM, Signal::SIGKILL] {
            let Some(pid) = self.running() else { return Ok(()) };
            match nix::sys::signal::kill(Pid::from_raw(pid), signal) {
                Ok(()) | Err(Errno::ESRCH) => {}
                Err(error) => return Err(Failure::at(self.0)(error)),
            }
            if wait_until(END, || Ok(self.running().is_none()))? {
                output::say("Stopped", self.0);
                return Ok(());
            }
        }
        Err(Failure::new(format!("{} does not end", self.0)))
    }

    /// The error that it has ended, with its last lines.
    pub(super) fn ended(&self) -> Failure {
        let log = self.log();
        let text = fs::read_to_string(&log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        let last: String = lines[lines.len().saturating_sub(LAST_LINES)..]
            .iter()
            .map(|line| format!("\n  | {line}"))
            .collect();
        Failure::new(format!("{} has ended{last}", self.0)).hint(format!("its log: {}", log.display()))
    }

    fn log(&self) -> PathBuf {
        Place::path("logs").join(format!("{}.log", self.0))
    }

    fn file(&self) -> PathBuf {
        Place::path("processes").join(format!("{}.json", self.0))
    }
}

impl Identity {
    /// The process with this number; `None` if there is none, or if it only waits to be collected.
    fn of(pid: i32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The second field is the program's name in parentheses, which may have any characters; 22 is the start.
        let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
        if fields.next()? == "Z" {
            return None;
        }
        let started = fields.nth(18)?.parse().ok()?;
        Some(Self { pid, started })
    }
}

/// Waits for a condition; `false` if it does not come to be in time.
///
/// # Errors
/// Those of the condition, which end the wait.
pub(super) fn wait_until(
    limit: Duration,
    mut is_so: impl FnMut() -> Result<bool, Failure>,
) -> Result<bool, Failure> {
    let until = Instant::now() + limit;
    while !is_so()? {
        if Instant::now() > until {
            return Ok(false);
        }
        std::thread::sleep(LOOK);
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_known_by_its_start_and_not_by_its_number_alone() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        let identity = Identity::of(pid).unwrap();
        assert_eq!(Identity::of(pid), Some(Identity { pid, started: identity.started }));
        assert_ne!(Identity::of(pid), Some(Identity { pid, started: identity.started + 1 }));
        child.kill().unwrap();
        // Not collected yet: its number is still taken, and it is no process any more.
        assert!(wait_until(END, || Ok(Identity::of(pid).is_none())).unwrap());
        child.wait().unwrap();
    }

    #[test]
    fn a_wait_ends_with_the_condition_its_error_or_its_limit() {
        assert!(wait_until(END, || Ok(true)).unwrap());
        assert!(!wait_until(Duration::ZERO, || Ok(false)).unwrap());
        assert!(wait_until(END, || Err(Failure::new("broken"))).is_err());
    }
}
