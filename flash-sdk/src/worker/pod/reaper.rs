//! Collects every process that ends in the pod. Those whose parents have ended become children of the first process, and
//! nobody else would.
use std::{collections::HashMap, io, sync::Arc};

use flash_protocol::wire::pod::ChildEnd;
use nix::{
    errno::Errno,
    sys::wait::{WaitPidFlag, WaitStatus, waitpid},
    unistd::Pid,
};
use parking_lot::Mutex;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::oneshot,
};
use tokio_util::task::AbortOnDropHandle;

/// See the module.
pub(super) struct Reaper {
    state: Arc<Mutex<State>>,
    _watching: AbortOnDropHandle<()>,
}

#[derive(Default)]
struct State {
    awaited: HashMap<i32, oneshot::Sender<ChildEnd>>,
    /// Ends of processes that nobody has asked for yet: one may end before its number is known.
    early: HashMap<i32, ChildEnd>,
    /// Whether one is being started.
    is_starting: bool,
}

impl Reaper {
    /// Collects from now on.
    ///
    /// # Errors
    /// When the signal of ended children cannot be listened for.
    pub(super) fn start() -> io::Result<Self> {
        let mut ends = signal(SignalKind::child())?;
        let state = Arc::<Mutex<State>>::default();
        let shared = state.clone();
        let watching = tokio::spawn(async move {
            while ends.recv().await.is_some() {
                collect(&shared);
            }
        });
        Ok(Self { state, _watching: AbortOnDropHandle::new(watching) })
    }

    /// Starts a process: `start` returns its number. The receiver gets how it ends.
    pub(super) fn start_child<E>(
        &self,
        start: impl FnOnce() -> Result<i32, E>,
    ) -> Result<(i32, oneshot::Receiver<ChildEnd>), E> {
        self.state.lock().is_starting = true;
        let started = start();
        let mut state = self.state.lock();
        state.is_starting = false;
        let mut early = std::mem::take(&mut state.early);
        let pid = started?;
        let (ended, end) = oneshot::channel();
        match early.remove(&pid) {
            // Fails if nobody waits, which is fine.
            Some(how) => drop(ended.send(how)),
            None => drop(state.awaited.insert(pid, ended)),
        }
        Ok((pid, end))
    }
}

/// Collects all that have ended.
fn collect(state: &Mutex<State>) {
    loop {
        let (pid, end) = match waitpid(None::<Pid>, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Exited(pid, code)) => (pid.as_raw(), ChildEnd::Code(code)),
            Ok(WaitStatus::Signaled(pid, signal, _)) => (pid.as_raw(), ChildEnd::Signal(signal as i32)),
            Ok(WaitStatus::StillAlive) | Err(Errno::ECHILD) => return,
            // Stopped or continued, which only tracers ask for; or interrupted.
            Ok(_) | Err(Errno::EINTR) => continue,
            Err(error) => return tracing::warn!("cannot collect ended processes: {error}"),
        };
        let mut state = state.lock();
        match state.awaited.remove(&pid) {
            Some(ended) => drop(ended.send(end)),
            None if state.is_starting => drop(state.early.insert(pid, end)),
            // Not ours: its parent has ended before it.
            None => {}
        }
    }
}
