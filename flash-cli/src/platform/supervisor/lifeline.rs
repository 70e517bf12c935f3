//! The lifeline: a small process that outlives a killed `flash` just long enough to end its workers.
//!
//! It reads process groups from a pipe (`+ID`, `-ID`, a line each), and once the platform's control groups
//! (`=JSON`). The pipe's end means that `flash` is gone, in whatever way; then it kills every group still
//! listed, what is left in the control groups, removes those, and exits. The kernel's parent-death signal,
//! set beside it, covers the moment between a spawn and its line.
use std::{
    collections::BTreeSet,
    io::{BufRead as _, Write as _},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex, PoisonError},
};

use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};

use super::cgroup;

/// The hidden argument that makes `flash` a lifeline.
const ARGUMENT: &str = "__lifeline";

/// A handle to the lifeline of this process. Cheap to share.
#[derive(Clone)]
pub(crate) struct Lifeline {
    child: Arc<Mutex<Child>>,
}

impl Lifeline {
    /// Starts it.
    pub(crate) fn start() -> std::io::Result<Self> {
        use std::os::unix::process::CommandExt as _;
        let mut command = Command::new(std::env::current_exe()?);
        // A group of its own: Ctrl-C on the terminal is not for it.
        command
            .arg(ARGUMENT)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0);
        Ok(Self { child: Arc::new(Mutex::new(command.spawn()?)) })
    }

    /// From now on this process group dies with us.
    pub(crate) fn add(&self, group: i32) {
        self.tell('+', &group.to_string());
    }

    /// This process group has ended.
    pub(crate) fn remove(&self, group: i32) {
        self.tell('-', &group.to_string());
    }

    /// These control groups are removed after us.
    pub(super) fn inherit(&self, left: &cgroup::Left) {
        // Paths that are not UTF-8 have no JSON; then the next start removes the empty groups.
        if let Ok(json) = serde_json::to_string(left) {
            self.tell('=', &json);
        }
    }

    fn tell(&self, sign: char, what: &str) {
        let mut child = self.child.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(pipe) = &mut child.stdin {
            // A lifeline that somebody killed cannot help; the kernel's signal still does.
            let _ = writeln!(pipe, "{sign}{what}");
        }
    }

    /// Ends it, when everything else has ended.
    pub(crate) fn end(&self) {
        let mut child = self.child.lock().unwrap_or_else(PoisonError::into_inner);
        drop(child.stdin.take());
        // It ends with the pipe; a failure here means that it was reaped already.
        let _ = child.wait();
    }
}

/// The lifeline's whole life.
pub(crate) fn watch_over() {
    // Whatever ends `flash` must not end this first.
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        // SAFETY: ignoring a signal installs no handler that could run.
        let _ = unsafe { nix::sys::signal::signal(signal, nix::sys::signal::SigHandler::SigIgn) };
    }
    let mut groups = BTreeSet::new();
    let mut left = cgroup::Left::default();
    for line in std::io::stdin().lock().lines().map_while(Result::ok) {
        let Some((sign, what)) = line.split_at_checked(1) else { continue };
        match (sign, what.parse::<i32>()) {
            ("+", Ok(group)) => {
                groups.insert(group);
            }
            ("-", Ok(group)) => {
                groups.remove(&group);
            }
            ("=", _) => left = serde_json::from_str(what).unwrap_or_default(),
            _ => {}
        }
    }
    for group in groups {
        // Gone already: as good.
        let _ = killpg(Pid::from_raw(group), Signal::SIGKILL);
    }
    cgroup::clean(&left);
}
