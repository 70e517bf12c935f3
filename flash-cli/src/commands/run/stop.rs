//! What ends a `flash run`: SIGINT, SIGTERM and, if asked for, the end of standard input.
use std::{io, thread};

use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::oneshot,
};

use crate::exit::Failure;

/// See the module.
pub(super) struct StopSignals {
    interrupt: Signal,
    terminate: Signal,
    /// Until standard input has ended; `None` afterwards, and if nobody asked.
    input: Option<oneshot::Receiver<()>>,
}

impl StopSignals {
    pub(super) fn listen(stop_on_eof: bool) -> Result<Self, Failure> {
        let problem = |error| Failure::failed(format!("could not listen for signals: {error}"));
        Ok(Self {
            interrupt: signal(SignalKind::interrupt()).map_err(problem)?,
            terminate: signal(SignalKind::terminate()).map_err(problem)?,
            input: stop_on_eof.then(end_of_input).transpose()?,
        })
    }

    pub(super) async fn next(&mut self) {
        let ended = async {
            match &mut self.input {
                // The thread never drops its end unused.
                Some(input) => drop(input.await),
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            () = ended => self.input = None,
        }
    }
}

/// Reads standard input to its end, and says so.
fn end_of_input() -> Result<oneshot::Receiver<()>, Failure> {
    let (end, ended) = oneshot::channel();
    // A thread of its own, and not one of the runtime: nothing interrupts the read, and a runtime waits for its threads.
    // It ends with the process.
    let reader = thread::Builder::new().name("stdin".to_owned()).spawn(move || {
        let _ = io::copy(&mut io::stdin().lock(), &mut io::sink());
        let _ = end.send(());
    });
    match reader {
        Ok(_) => Ok(ended),
        Err(error) => Err(Failure::failed(format!("could not read standard input: {error}"))),
    }
}
