//! The lifeline: a small process that outlives a killed `flash` long enough to end its workers.
//!
//! It reads what to end from a pipe, one item per line ([`Tracked::take`]). When the pipe closes, `flash` has ended.
//! The lifeline then kills every listed process group, has the engine remove every container, kills what is left in
//! the control groups, removes the groups, and exits. The kernel's parent-death signal covers the moment between a
//! spawn and its line.
use std::{
    collections::BTreeSet,
    io::{BufRead as _, Write as _},
    os::fd::AsFd as _,
    process::{Child, Command, Stdio},
    sync::Arc,
    time::Duration,
};

use nix::{
    fcntl::{FcntlArg, OFlag, fcntl},
    sys::signal::Signal,
};
use parking_lot::{Mutex, MutexGuard};

use super::{cgroup, child::signal_group, container_removal::Removal};

/// The hidden argument that makes `flash` a lifeline.
const ARGUMENT: &str = "__lifeline";
const BETWEEN_LOOKS: Duration = Duration::from_millis(5);

/// A handle to the lifeline of this process. Cheap to share.
#[derive(Clone)]
pub(crate) struct Lifeline {
    child: Arc<Mutex<Child>>,
}

impl Lifeline {
    /// Starts it.
    pub(crate) fn start() -> std::io::Result<Self> {
        use std::os::unix::process::CommandExt as _;
        // Not by its path: a newer `flash` may have been installed there since.
        let mut command = Command::new("/proc/self/exe");
        // Its own process group, so that Ctrl-C in the terminal does not reach it.
        command
            .arg(ARGUMENT)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0);
        let child = command.spawn()?;
        if let Some(pipe) = &child.stdin {
            // A stopped lifeline reads nothing, and writes must not wait for it.
            let flags = OFlag::from_bits_retain(fcntl(pipe.as_fd(), FcntlArg::F_GETFL)?);
            fcntl(pipe.as_fd(), FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
        }
        Ok(Self { child: Arc::new(Mutex::new(child)) })
    }

    /// From now on, this process group is killed when `flash` ends.
    pub(crate) fn add(&self, group: i32) {
        self.write('+', &group.to_string());
    }

    /// This process group has ended.
    pub(crate) fn remove(&self, group: i32) {
        self.write('-', &group.to_string());
    }

    /// From now on, this container is removed when `flash` ends, with this command and its name.
    pub(super) fn add_container(&self, name: &str, removal: &Removal) {
        if let Ok(json) = serde_json::to_string(removal) {
            self.write('*', &json);
        }
        self.write('>', name);
    }

    /// The client of a container. It is asked to end, and never killed while creating one.
    pub(super) fn add_client(&self, group: i32) {
        self.write('~', &group.to_string());
    }

    /// This container is removed.
    pub(super) fn remove_container(&self, name: &str) {
        self.write('<', name);
    }

    /// These control groups are removed after `flash` has ended.
    pub(super) fn inherit(&self, left: &cgroup::Leftovers) {
        // Paths that are not UTF-8 have no JSON; then the next start removes the empty groups.
        if let Ok(json) = serde_json::to_string(left) {
            self.write('=', &json);
        }
    }

    fn write(&self, sign: char, what: &str) {
        if let Some(pipe) = &mut self.child().stdin {
            // If the lifeline was killed or stopped, only the kernel's signal is left. The line is sent in one write,
            // which the kernel accepts completely or not at all.
            let _ = pipe.write_all(format!("{sign}{what}\n").as_bytes());
        }
    }

    /// Ends it, once everything else has ended. If it has more to do, it continues alone after `limit`.
    pub(crate) async fn end(&self, limit: Duration) {
        drop(self.child().stdin.take());
        let until = tokio::time::Instant::now() + limit;
        // It ends with the pipe; a failure here means that it was reaped already.
        while matches!(self.child().try_wait(), Ok(None)) && tokio::time::Instant::now() < until {
            tokio::time::sleep(BETWEEN_LOOKS).await;
        }
    }

    fn child(&self) -> MutexGuard<'_, Child> {
        self.child.lock()
    }
}

/// Whether this process was started as a lifeline.
pub fn is_lifeline() -> bool {
    std::env::args_os().nth(1).is_some_and(|argument| argument == ARGUMENT)
}

/// The main function of the lifeline.
pub fn watch_over() {
    // Whatever ends `flash` must not end this first.
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        // SAFETY: ignoring a signal installs no handler that could run.
        let _ = unsafe { nix::sys::signal::signal(signal, nix::sys::signal::SigHandler::SigIgn) };
    }
    let mut tracked = Tracked::default();
    for line in std::io::stdin().lock().lines().map_while(Result::ok) {
        tracked.take(&line);
    }
    tracked.end();
}

/// What must end.
#[derive(Debug, Default)]
struct Tracked {
    groups: BTreeSet<i32>,
    clients: BTreeSet<i32>,
    containers: BTreeSet<String>,
    /// How containers are removed.
    removal: Option<Removal>,
    left: cgroup::Leftovers,
}

impl Tracked {
    /// `+ID` and `-ID` begin and end a process group, `~ID` begins that of an engine's client, `>NAME` and `<NAME`
    /// begin and end a container, `*JSON` describes how to remove containers, and `=JSON` lists the control groups of
    /// `flash`.
    fn take(&mut self, line: &str) {
        let Some((sign, what)) = line.split_at_checked(1) else { return };
        match (sign, what.parse::<i32>()) {
            ("+", Ok(group)) => {
                self.groups.insert(group);
            }
            ("~", Ok(group)) => {
                self.clients.insert(group);
            }
            ("-", Ok(group)) => {
                self.groups.remove(&group);
                self.clients.remove(&group);
            }
            (">", _) => {
                self.containers.insert(what.to_owned());
            }
            ("<", _) => {
                self.containers.remove(what);
            }
            ("*", _) => self.removal = serde_json::from_str(what).ok(),
            ("=", _) => self.left = serde_json::from_str(what).unwrap_or_default(),
            _ => {}
        }
    }

    fn end(self) {
        for group in self.groups {
            signal_group(group, Signal::SIGKILL);
        }
        if let Some(removal) = self.removal {
            removal.end(&self.containers, &self.clients);
        }
        cgroup::clean(&self.left);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_ended_is_no_charge_any_more() {
        let mut tracked = Tracked::default();
        let lines = [
            "+12",
            "+13",
            "-12",
            "~14",
            "~15",
            "-15",
            ">flash-a-1",
            ">flash-b-2",
            "<flash-a-1",
            "",
            "?",
            "+x",
            r#"*{"program":"podman","arguments":["rm"]}"#,
        ];
        lines.iter().for_each(|line| tracked.take(line));
        assert_eq!(tracked.groups, BTreeSet::from([13]));
        assert_eq!(tracked.clients, BTreeSet::from([14]));
        assert_eq!(tracked.containers, BTreeSet::from(["flash-b-2".to_owned()]));
        assert!(tracked.removal.is_some());
    }
}
