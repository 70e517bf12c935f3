//! The first process of a pod: it opens one connection to the platform, and starts, signals and watches the worker that
//! the platform asks for. The worker is the same program, as its child.
//!
//! The worker's variables come over the connection and are in no description of the pod. A worker that ends does not end the
//! pod: the platform may start the next one at once. The pod ends when the platform or the node asks for it, and when the
//! connection is lost.
mod child;
mod connection;
mod reaper;

use std::{process::ExitCode, time::Duration};

use flash_protocol::{
    variables,
    wire::pod::{ChildEnd, ChildSignal, PodEvent, StartChild, ToPod},
};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    time::Instant,
};

use self::{
    child::Child,
    connection::{Connection, Sender},
    reaper::Reaper,
};

/// How long the platform may be away when the pod starts, as while it restarts.
const JOIN: Duration = Duration::from_secs(120);
/// The pause between two attempts to reach it.
const AGAIN: Duration = Duration::from_millis(500);
/// How long a worker may finish its work once the connection is lost: nobody takes its result, but `#[exit]` may matter.
const ORPHANED: Duration = Duration::from_secs(10);

/// Where the platform is, and what it lets this pod in by.
struct Address {
    url: String,
    key: String,
}

/// Runs the pod to its end. Exit code 0 means that it was asked to end.
///
/// # Errors
/// When the variables are not there, or the platform cannot be reached.
pub(super) fn run() -> Result<ExitCode, String> {
    let required = |name: &'static str| variables::get(name).ok_or_else(|| format!("{name} is not set"));
    let address = Address { url: required(variables::POD_URL)?, key: required(variables::POD_KEY)? };
    // One thread: it waits for other processes nearly all of the time.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| format!("could not start the async runtime: {error}"))?;
    runtime.block_on(serve(&address))
}

async fn serve(address: &Address) -> Result<ExitCode, String> {
    let problem = |error| format!("could not listen for signals: {error}");
    let mut stop = StopSignals {
        terminate: signal(SignalKind::terminate()).map_err(problem)?,
        interrupt: signal(SignalKind::interrupt()).map_err(problem)?,
    };
    // Before the first child, so that no end is missed.
    let reaper = Reaper::start().map_err(problem)?;
    let connection = tokio::select! {
        connection = join(address) => connection?,
        () = stop.received() => return Ok(ExitCode::SUCCESS),
    };
    let Connection { sender, mut frames } = connection;
    let mut pod = Pod { sender, reaper, child: None, is_stopping: false };
    loop {
        tokio::select! {
            frame = frames.next() => match frame {
                Ok(Some(frame)) => {
                    if pod.handle(frame) == Next::End {
                        pod.end(Duration::ZERO).await;
                        return Ok(ExitCode::SUCCESS);
                    }
                }
                Ok(None) => {
                    pod.end(ORPHANED).await;
                    return Err("the platform has closed the connection".to_owned());
                }
                Err(reason) => {
                    pod.end(ORPHANED).await;
                    return Err(format!("the connection to the platform is lost: {reason}"));
                }
            },
            () = stop.received(), if !pod.is_stopping => {
                if pod.stop() == Next::End {
                    pod.sender.flush().await;
                    return Ok(ExitCode::SUCCESS);
                }
            }
            end = ended(&mut pod.child) => {
                pod.forget(end);
                if pod.is_stopping {
                    pod.sender.flush().await;
                    return Ok(ExitCode::SUCCESS);
                }
            }
        }
    }
}

/// Opens the connection, with retries while nobody listens.
async fn join(address: &Address) -> Result<Connection, String> {
    let until = Instant::now() + JOIN;
    loop {
        match Connection::open(&address.url, &address.key).await {
            Ok(connection) => return Ok(connection),
            Err(reason) if Instant::now() >= until => {
                return Err(format!("could not reach the platform at {}: {reason}", address.url));
            }
            Err(_) => tokio::time::sleep(AGAIN).await,
        }
    }
}

/// Waits for the end of the worker; for ever, if there is none.
async fn ended(child: &mut Option<Child>) -> Option<ChildEnd> {
    match child {
        Some(child) => child.ended().await,
        None => std::future::pending().await,
    }
}

struct StopSignals {
    terminate: Signal,
    interrupt: Signal,
}

impl StopSignals {
    async fn received(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// What comes after a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    Frames,
    End,
}

struct Pod {
    sender: Sender,
    reaper: Reaper,
    /// The worker, until it has ended.
    child: Option<Child>,
    /// The node wants the pod to end.
    is_stopping: bool,
}

impl Pod {
    fn handle(&mut self, frame: ToPod) -> Next {
        match frame {
            ToPod::Start(start) => self.start(start),
            ToPod::Signal { child, signal } => {
                if let Some(own) = self.child.as_ref().filter(|own| own.number() == child) {
                    own.signal(signal);
                }
            }
            ToPod::Leave => return Next::End,
        }
        Next::Frames
    }

    fn start(&mut self, start: StartChild) {
        let number = start.child;
        let refused = match (&self.child, self.is_stopping) {
            (Some(own), _) => Some(format!("worker {} has not ended", own.number())),
            (None, true) => Some("the pod is ending".to_owned()),
            (None, false) => None,
        };
        let started = match refused {
            Some(reason) => Err(reason),
            None => Child::start(start, &self.reaper, &self.sender),
        };
        match started {
            Ok(child) => self.child = Some(child),
            Err(reason) => self.sender.tell(PodEvent::NotStarted { child: number, reason }),
        }
    }

    /// The node has asked for the end: the worker finishes what it does. The node kills what takes too long.
    fn stop(&mut self) -> Next {
        self.is_stopping = true;
        self.sender.tell(PodEvent::Stopping);
        let Some(child) = &self.child else { return Next::End };
        child.signal(ChildSignal::Terminate);
        Next::Frames
    }

    /// The worker has ended. It is forgotten before the platform hears of it, which may start the next one at once.
    fn forget(&mut self, end: Option<ChildEnd>) {
        if let (Some(child), Some(end)) = (self.child.take(), end) {
            self.sender.tell(PodEvent::Ended { child: child.number(), end });
        }
    }

    /// Ends the worker: within this time by itself, then by force.
    async fn end(&mut self, grace: Duration) {
        if let Some(child) = &mut self.child {
            child.signal(if grace.is_zero() { ChildSignal::Kill } else { ChildSignal::Terminate });
            let end = match tokio::time::timeout(grace, child.ended()).await {
                Ok(end) => end,
                Err(_) => {
                    child.signal(ChildSignal::Kill);
                    child.ended().await
                }
            };
            self.forget(end);
        }
        self.sender.flush().await;
    }
}
