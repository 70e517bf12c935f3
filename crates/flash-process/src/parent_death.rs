//! What happens to a child process when this one ends unexpectedly.
//!
//! The kernel sends a child its parent-death signal when the *thread* that started it ends, not the process.
//! Threads of the async runtime can end before the process: a thread that blocks hands its work to a new one and
//! ends when idle. So one thread that lives as long as this process starts all such children ([`spawn`]).
use std::{
    io,
    panic::{AssertUnwindSafe, catch_unwind},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use parking_lot::Mutex;
use tokio::{
    process::{Child, Command},
    runtime::Handle,
    sync::{mpsc, oneshot},
};

/// How many starts may wait for the thread before callers block.
const WAITING: usize = 64;

/// What happens to a child when this process ends, if the kernel supports it. On systems other than Linux, only the
/// lifeline ends what is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnParentDeath {
    /// SIGKILL.
    Kill,
    /// SIGTERM: if it were killed in the middle of something, that would be left half done.
    Terminate,
}

impl OnParentDeath {
    fn signal(self) -> Signal {
        match self {
            Self::Kill => Signal::SIGKILL,
            Self::Terminate => Signal::SIGTERM,
        }
    }
}

/// Starts a program that ends with this process.
///
/// If the future is dropped before it is done, a started child ends as it would with this process.
///
/// # Errors
/// When it cannot be started.
pub async fn spawn(mut command: Command, on_parent_death: OnParentDeath) -> io::Result<Child> {
    set_parent_death_signal(&mut command, on_parent_death);
    let (started, child) = oneshot::channel();
    let order = Order { command, on_parent_death, runtime: Handle::current(), started };
    let ended = || io::Error::other("the thread that starts programs has ended");
    spawner()?.send(order).await.map_err(|_| ended())?;
    child.await.map_err(|_| ended())?
}

/// One start.
struct Order {
    command: Command,
    on_parent_death: OnParentDeath,
    /// Waits for the child's end.
    runtime: Handle,
    started: oneshot::Sender<io::Result<Child>>,
}

impl Order {
    fn carry_out(self) {
        let Self { mut command, on_parent_death, runtime, started } = self;
        let _entered = runtime.enter();
        // A runtime that is shutting down accepts no children and panics. That must not end this thread, because
        // all children would end with it.
        let child = catch_unwind(AssertUnwindSafe(|| command.spawn()));
        let child = child.unwrap_or_else(|_| Err(io::Error::other("the async runtime is ending")));
        // The descriptors meant only for the child are closed with it.
        drop(command);
        if let Err(Ok(unwanted)) = started.send(child)
            && let Some(id) = unwanted.id().and_then(|id| i32::try_from(id).ok())
        {
            // It is already gone.
            let _ = kill(Pid::from_raw(id), on_parent_death.signal());
        }
    }
}

/// The channel to the thread, which is started with the first child.
fn spawner() -> io::Result<mpsc::Sender<Order>> {
    static SPAWNER: Mutex<Option<mpsc::Sender<Order>>> = Mutex::new(None);
    let mut spawner = SPAWNER.lock();
    if let Some(running) = &*spawner {
        return Ok(running.clone());
    }
    let (orders, mut waiting) = mpsc::channel::<Order>(WAITING);
    let run = move || {
        while let Some(order) = waiting.blocking_recv() {
            order.carry_out();
        }
    };
    // Never joined: the static above keeps the other end, so it ends with the process.
    std::thread::Builder::new().name("flash-spawner".to_owned()).spawn(run)?;
    *spawner = Some(orders.clone());
    Ok(orders)
}

fn set_parent_death_signal(command: &mut Command, on_parent_death: OnParentDeath) {
    let signal = on_parent_death.signal();
    #[cfg(target_os = "linux")]
    {
        let parent = std::process::id();
        let set = move || {
            nix::sys::prctl::set_pdeathsig(signal)?;
            // The parent may have died between fork and here: then no signal will come.
            if nix::unistd::getppid().as_raw().cast_unsigned() != parent {
                return Err(io::Error::other("the parent is gone"));
            }
            Ok(())
        };
        // SAFETY: between fork and exec only async-signal-safe calls are made: prctl and getppid, and no
        // memory is allocated unless the parent is gone already.
        unsafe {
            command.pre_exec(set);
        }
    }
    #[cfg(not(target_os = "linux"))]
    let _ = (command, signal);
}

#[cfg(test)]
mod tests {
    use std::process::Stdio;

    use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};

    use super::*;

    /// As a thread of the runtime's pool does, whose task has started a worker.
    #[test]
    fn a_child_outlives_the_thread_that_asked_for_it() {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let handle = runtime.handle().clone();
        let asking = std::thread::spawn(move || {
            let mut cat = Command::new("cat");
            cat.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
            handle.block_on(spawn(cat, OnParentDeath::Kill)).unwrap()
        });
        let mut cat = asking.join().unwrap();
        runtime.block_on(async {
            cat.stdin.take().unwrap().write_all(b"still here\n").await.unwrap();
            let line = BufReader::new(cat.stdout.take().unwrap()).lines().next_line().await.unwrap();
            assert_eq!(line.as_deref(), Some("still here"));
            assert!(cat.wait().await.unwrap().success());
        });
    }

    #[tokio::test]
    async fn a_program_that_is_not_there_is_an_error_of_its_start() {
        let error = spawn(Command::new("/no/such/program"), OnParentDeath::Kill).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }
}
