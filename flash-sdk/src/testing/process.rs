//! The `flash run` of a test: started, read, stopped.
use std::{
    collections::VecDeque,
    env,
    io::{self, BufRead as _, BufReader, Read},
    path::Path,
    process::{Child, ChildStdin, Command, ExitStatus, Stdio},
    sync::{Arc, mpsc},
    thread,
    time::{Duration, Instant},
};

use flash_protocol::{Error, ErrorKind, Result, variables};
use parking_lot::Mutex;
use serde::Deserialize;
use tokio::sync::oneshot;

/// A start may compile the app and all its dependencies.
const START_LIMIT: Duration = Duration::from_secs(30 * 60);
/// Then `flash` is killed.
const STOP_LIMIT: Duration = Duration::from_secs(10);
const STOP_POLL: Duration = Duration::from_millis(5);
/// How much of its output an error repeats.
const LINES_IN_ERRORS: usize = 30;

/// What `flash run --json` prints.
#[derive(Deserialize)]
#[serde(tag = "event", rename_all = "lowercase")]
enum Event {
    Ready(Ready),
    Log {
        worker: Option<String>,
        request_id: Option<String>,
        text: String,
    },
    #[serde(other)]
    Other,
}

/// The app is served.
#[derive(Deserialize)]
pub(super) struct Ready {
    pub(super) url: String,
    endpoints: Vec<Endpoint>,
}

#[derive(Deserialize)]
struct Endpoint {
    worker: String,
}

impl Ready {
    /// The worker types; one may be there several times.
    pub(super) fn workers(&self) -> impl Iterator<Item = &str> {
        self.endpoints.iter().map(|endpoint| &*endpoint.worker)
    }
}

/// A running `flash run`. Dropping it ends the process and its workers.
pub(super) struct FlashRun {
    child: Child,
    /// It stops when this is closed, also by the end of this process.
    stdin: Option<ChildStdin>,
    /// Says when all its output was read, by being closed.
    read: mpsc::Receiver<()>,
    /// The last lines that are not log lines of workers.
    last: Arc<Mutex<VecDeque<String>>>,
}

impl FlashRun {
    /// Starts it for this crate, and waits until it serves.
    ///
    /// # Errors
    /// If it does not.
    pub(super) async fn start(directory: &Path) -> Result<(Self, Ready)> {
        let program = variables::get(variables::BIN).unwrap_or_else(|| "flash".to_owned());
        let mut child =
            command(&program, directory).spawn().map_err(|error| not_started(&program, &error))?;
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let (at_end, read) = mpsc::channel();
        let last = Arc::new(Mutex::new(VecDeque::new()));
        let mut flash = Self { stdin: child.stdin.take(), child, read, last: last.clone() };
        let (on_ready, ready) = oneshot::channel();
        let events = Output { last: last.clone(), on_ready: Some(on_ready), _at_end: at_end.clone() };
        let messages = Output { last, on_ready: None, _at_end: at_end };
        // Threads, because only they take the output of a test with them.
        let problem =
            |error: io::Error| Error::new(ErrorKind::Transport, format!("could not start a thread: {error}"));
        events.read(stdout.expect("it is piped")).map_err(problem)?;
        messages.read(stderr.expect("it is piped")).map_err(problem)?;
        match tokio::time::timeout(START_LIMIT, ready).await {
            Ok(Ok(ready)) => Ok((flash, ready)),
            Ok(Err(_)) => Err(flash.ended_early(directory)),
            Err(_) => {
                let minutes = START_LIMIT.as_secs() / 60;
                let message =
                    format!("`flash run` did not serve {} within {minutes} minutes", directory.display());
                Err(Error::new(ErrorKind::Timeout, message))
            }
        }
    }

    /// Why it did not serve.
    fn ended_early(&mut self, directory: &Path) -> Error {
        let status = self.stop().map_or_else(|| "killed".to_owned(), |status| status.to_string());
        let last = self.last.lock();
        let lines = last.iter().map(String::as_str).collect::<Vec<_>>().join("\n");
        let message = format!(
            "`flash run` ended before it served {} ({status}). It printed:\n{lines}",
            directory.display()
        );
        Error::new(ErrorKind::NoWorker, message)
    }

    /// Ends it. `None` if it had to be killed.
    fn stop(&mut self) -> Option<ExitStatus> {
        drop(self.stdin.take());
        let until = Instant::now() + STOP_LIMIT;
        let status = loop {
            match self.child.try_wait() {
                Ok(Some(status)) => break Some(status),
                Ok(None) if Instant::now() < until => thread::sleep(STOP_POLL),
                // Its workers end with it.
                Ok(None) | Err(_) => {
                    let _ = self.child.kill();
                    let _ = self.child.wait();
                    break None;
                }
            }
        };
        // Nothing is ever sent: this returns when both threads have read everything, or when another process holds
        // their pipes.
        let _ = self.read.recv_timeout(STOP_LIMIT);
        status
    }
}

impl Drop for FlashRun {
    fn drop(&mut self) {
        self.stop();
    }
}

fn command(program: &str, directory: &Path) -> Command {
    let mut command = Command::new(program);
    command
        .arg("run")
        .arg(directory)
        .args([
            "--json",
            "--host",
            "127.0.0.1",
            "--port",
            "0",
            "--no-reload",
            "--drain-seconds",
            "0",
            "--stop-on-eof",
        ])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        // Empty, so that a key in `.env` does not count either.
        .env(variables::API_KEY, "")
        .env_remove("FLASH_HOST")
        .env_remove("FLASH_PORT");
    // What cargo tells a test about its package would make cargo build anew what it built without it.
    for (name, _) in env::vars_os() {
        let name_text = name.to_string_lossy();
        if ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_"].iter().any(|prefix| name_text.starts_with(prefix))
        {
            command.env_remove(&name);
        }
    }
    command
}

fn not_started(program: &str, error: &io::Error) -> Error {
    let message = if error.kind() == io::ErrorKind::NotFound {
        format!(
            "cannot start the app, because there is no `{program}`: install the `flash` command, put it on PATH or set {} \
             to its path",
            variables::BIN
        )
    } else {
        format!("cannot start `{program}`: {error}")
    };
    Error::new(ErrorKind::NotFound, message)
}

/// One of its outputs. It becomes output of the test.
struct Output {
    last: Arc<Mutex<VecDeque<String>>>,
    /// On standard output, until it is ready.
    on_ready: Option<oneshot::Sender<Ready>>,
    _at_end: mpsc::Sender<()>,
}

impl Output {
    fn read(mut self, output: impl Read + Send + 'static) -> io::Result<()> {
        let read = move || {
            for line in BufReader::new(output).lines().map_while(io::Result::ok) {
                self.take(line);
            }
        };
        thread::Builder::new().name("flash run".to_owned()).spawn(read).map(drop)
    }

    fn take(&mut self, line: String) {
        match serde_json::from_str(&line) {
            Ok(Event::Ready(ready)) => {
                if let Some(on_ready) = self.on_ready.take() {
                    // Nobody waits any more if the start was given up.
                    let _ = on_ready.send(ready);
                }
            }
            Ok(Event::Log { worker, request_id, text }) => {
                let name = |name: Option<String>| name.unwrap_or_else(|| "-".to_owned());
                show(&format!("{} {} | {text}", name(worker), name(request_id)));
            }
            Ok(Event::Other) => show(&line),
            Err(_) => {
                show(&line);
                let mut last = self.last.lock();
                last.push_back(line);
                if last.len() > LINES_IN_ERRORS {
                    last.pop_front();
                }
            }
        }
    }
}

#[expect(clippy::print_stderr, reason = "it is the output of a test, which the test's runner captures")]
fn show(line: &str) {
    eprintln!("{line}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_command_is_told_with_what_to_do() {
        let error = not_started("flash", &io::ErrorKind::NotFound.into());
        assert!(
            error.message().contains("install the `flash` command, put it on PATH or set FLASH_BIN"),
            "{error}"
        );
        let error = not_started("/opt/flash", &io::ErrorKind::PermissionDenied.into());
        assert_eq!(error.message(), "cannot start `/opt/flash`: permission denied");
    }

    #[test]
    fn only_messages_are_kept_for_errors_and_not_too_many() {
        let (at_end, _read) = mpsc::channel();
        let (on_ready, mut ready) = oneshot::channel();
        let last = Arc::<Mutex<VecDeque<String>>>::default();
        let mut output = Output { last: last.clone(), on_ready: Some(on_ready), _at_end: at_end };
        output.take(r#"{"event":"log","worker":null,"request_id":null,"level":null,"text":"hi"}"#.to_owned());
        output.take(r#"{"event":"reload","ok":true,"error":null}"#.to_owned());
        assert!(last.lock().is_empty());
        for line in 0..=LINES_IN_ERRORS {
            output.take(format!("line {line}"));
        }
        let kept: Vec<String> = last.lock().iter().cloned().collect();
        assert_eq!((kept.len(), kept[0].as_str()), (LINES_IN_ERRORS, "line 1"));
        assert!(ready.try_recv().is_err());
        let row = r#"{"worker":"texts","function":"shout"}"#;
        output.take(format!(r#"{{"event":"ready","url":"http://h:1","app":"a","endpoints":[{row},{row}]}}"#));
        let ready = ready.try_recv().unwrap();
        assert_eq!(
            (ready.url.as_str(), ready.workers().collect::<Vec<_>>()),
            ("http://h:1", vec!["texts", "texts"])
        );
    }
}
