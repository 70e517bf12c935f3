//! The one printer of a command: what goes to which stream, and in which format.
use std::{
    io,
    os::fd::AsFd as _,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use anstream::adapter::strip_str;
use flash_logs::LogLine;
use flash_plan::Mark;
use flash_target::LogRecord;
use flash_target_local::{Report, SharedReport};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde::Serialize;
use serde_json::{Value, json};

use super::{
    colour::{BOLD, Colours, DIM, GREEN, RED, RESET},
    endpoint::Endpoint,
    format::Format,
    log_text::LogText,
    mark::{FindingMark, colour_of},
    progress::Progress,
    table::table_lines,
    writer::{DropPriority, LineWriter},
};
use crate::exit::Failure;

/// How a command prints. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Output {
    format: Format,
    colours: Colours,
    /// The longest worker ID so far, for alignment.
    width: Arc<AtomicUsize>,
    stdout: LineWriter,
    stderr: LineWriter,
    /// Log lines that found the queue full.
    dropped: Arc<AtomicU64>,
}

/// The interval of checks whether the reader of our pipe still exists.
const READER_LOOK: Duration = Duration::from_millis(250);
/// How long to wait at the end for a reader of stdout that does not read.
const LAST_WRITES: Duration = Duration::from_secs(1);
/// How long to wait for one of stderr, where errors go.
const LAST_WORDS: Duration = Duration::from_secs(5);

impl Output {
    /// Starts the threads that write.
    pub(crate) fn new(format: Format) -> Self {
        let colours = Colours::of_terminals(format);
        let (stdout, stderr) = (LineWriter::start(io::stdout()), LineWriter::start(io::stderr()));
        Self {
            format,
            colours,
            width: Arc::new(AtomicUsize::new(24)),
            stdout,
            stderr,
            dropped: Arc::default(),
        }
    }

    /// What the background service reports, on stderr.
    pub(crate) fn service_report() -> SharedReport {
        Arc::new(Self::new(Format::Text))
    }

    /// Whether data is printed as JSON.
    pub(crate) fn is_json(&self) -> bool {
        self.format == Format::Json
    }

    /// Waits until everything printed so far is written, for a limited time.
    pub(crate) fn flush(&self) {
        self.stdout.flush(LAST_WRITES);
        self.stderr.flush(LAST_WORDS);
    }

    /// Waits until everything is written, however slow the reader is: for commands whose result is their output.
    ///
    /// # Errors
    /// When it cannot be written, for example because the disk is full. A closed pipe is not an error.
    pub(crate) fn finish(&self) -> io::Result<()> {
        self.stdout.finish()
    }

    fn print(&self, line: &str) {
        self.stdout.write(line.to_owned());
    }

    /// Like `print`, for lines that may be lost rather than block the platform.
    fn print_or_drop(&self, line: String, priority: DropPriority) {
        if !self.stdout.try_write(line, priority) {
            self.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        match self.dropped.swap(0, Ordering::Relaxed) {
            0 => {}
            dropped => self.warning(&format!("{dropped} log lines were dropped: their reader is too slow")),
        }
    }

    fn say(&self, line: &str) {
        // What nobody reads for this long is lost.
        let _ = self.stderr.try_write(line.to_owned(), DropPriority::Event);
        self.stderr.settle();
    }

    fn event(&self, event: &str, mut members: Value) {
        if let Value::Object(members) = &mut members {
            members.insert("event".to_owned(), event.into());
        }
        self.print_or_drop(members.to_string(), DropPriority::Event);
    }

    /// A step that begins or has ended.
    pub(crate) fn status(&self, verb: &str, text: &str) {
        let (bold, reset) = if self.colours.stderr { (GREEN, RESET) } else { ("", "") };
        self.say(&format!("{bold}{verb:>12}{reset} {text}"));
    }

    /// Shows that something takes a while.
    pub(crate) fn activity(&self, verb: &str, what: &str) -> Progress {
        Progress::spinner(verb, what)
    }

    /// Shows progress in bytes.
    pub(crate) fn progress(&self, verb: &str, what: &str) -> Progress {
        Progress::bytes(verb, what)
    }

    /// A problem that does not stop the command.
    pub(crate) fn warning(&self, text: &str) {
        let (red, reset) = if self.colours.stderr { (RED, RESET) } else { ("", "") };
        self.say(&format!("{red}warning{reset}: {text}"));
    }

    /// A problem that ends the command or a step.
    pub(crate) fn error(&self, text: &dyn std::fmt::Display) {
        let (red, reset) = if self.colours.stderr { (RED, RESET) } else { ("", "") };
        self.say(&format!("{red}error{reset}: {text}"));
    }

    /// The server is up: prints one table, with a `curl` command for each row.
    pub(crate) fn ready(&self, url: &str, app: &str, endpoints: &[Endpoint]) {
        if self.is_json() {
            return self.event("ready", json!({ "url": url, "app": app, "endpoints": endpoints }));
        }
        let (bold, reset) = if self.colours.stdout { (BOLD, RESET) } else { ("", "") };
        let up = format!(
            "{bold}{app}{reset} is up at {bold}{url}{reset}  (dashboard: {url}/_flash/, API docs: {url}/docs, stop: Ctrl-C)\n"
        );
        self.print_or_drop(up, DropPriority::Event);
        self.endpoints(endpoints);
    }

    /// The endpoint table alone.
    pub(crate) fn endpoints(&self, endpoints: &[Endpoint]) {
        let (dim, reset) = if self.colours.stdout { (DIM, RESET) } else { ("", "") };
        let heads = Endpoint::heads();
        let width = |column: fn(&Endpoint) -> &str| {
            endpoints.iter().chain([&heads]).map(|row| column(row).chars().count()).max().unwrap_or(0)
        };
        let (path, function, worker, compute) = (
            width(|row| &row.path),
            width(|row| &row.function),
            width(|row| &row.worker),
            width(|row| &row.compute),
        );
        let line = |row: &Endpoint| {
            let Endpoint { method, workers, .. } = row;
            let line = format!(
                "  {method:<6} {:<path$}  {:<function$}  {:<worker$}  {:<compute$}  {workers}",
                row.path, row.function, row.worker, row.compute
            );
            line.trim_end().to_owned()
        };
        if !endpoints.is_empty() {
            self.print_or_drop(format!("{dim}{}{reset}", line(&heads)), DropPriority::Event);
        }
        for row in endpoints {
            self.print_or_drop(line(row), DropPriority::Event);
            self.print_or_drop(format!("  {dim}{}{reset}", row.curl), DropPriority::Event);
        }
        self.print_or_drop(String::new(), DropPriority::Event);
    }

    /// A planned change, colored by its mark.
    pub(crate) fn change(&self, mark: Mark, text: &str) {
        let (colour, reset) = if self.colours.stdout { (colour_of(mark), RESET) } else { ("", "") };
        self.print(&format!("{colour}{}{reset} {text}", mark.sign()));
    }

    /// One JSON object: everything that a command prints with `--json`.
    pub(crate) fn object(&self, object: &impl Serialize) {
        // It consists of maps with string keys, so it has a JSON form.
        if let Ok(text) = serde_json::to_string(object) {
            self.print(&text);
        }
    }

    /// Data that is not text.
    pub(crate) fn raw(&self, bytes: Vec<u8>) {
        self.stdout.write_raw(bytes);
    }

    /// One line of data.
    pub(crate) fn line(&self, text: &str) {
        self.print(text);
    }

    /// A finding, and below it what it means and what to do.
    pub(crate) fn finding(&self, mark: FindingMark, name: &str, said: &str, below: &[&str]) {
        let (colour, dim, reset) =
            if self.colours.stdout { (mark.colour(), DIM, RESET) } else { ("", "", "") };
        self.print(&format!("{colour}{}{reset} {name:<14} {said}", mark.sign()));
        for line in below.iter().flat_map(|text| text.lines()) {
            self.print(&format!("{:17}{dim}{}{reset}", "", line.trim_end()));
        }
    }

    /// Rows below a header, in aligned columns. Numbers are right-aligned.
    pub(crate) fn table(&self, head: &[&str], rows: &[Vec<String>]) {
        let (bold, reset) = if self.colours.stdout { (BOLD, RESET) } else { ("", "") };
        let mut lines = table_lines(head, rows).into_iter();
        if let Some(head) = lines.next() {
            self.print(&format!("{bold}{head}{reset}"));
        }
        lines.for_each(|line| self.print(&line));
    }

    /// A new version serves, or why the old one stays.
    pub(crate) fn reloaded(&self, outcome: Result<Duration, &Failure>) {
        match outcome {
            Ok(took) => {
                self.status("Reloaded", &format!("in {:.1} s: the new version serves", took.as_secs_f64()));
            }
            Err(failure) => self.error(&format!("{failure}; the old version keeps serving")),
        }
        if self.is_json() {
            let error = outcome.err().map(ToString::to_string);
            self.event("reload", json!({ "ok": outcome.is_ok(), "error": error }));
        }
    }

    /// A line of a worker's log, as it comes.
    pub(crate) fn log(&self, line: &LogLine) {
        let line = self.rendered(&line.into());
        self.print_or_drop(line, DropPriority::Log);
    }

    /// A stored log line, after a time for people if there is one. None is dropped.
    pub(crate) fn record(&self, record: &LogRecord, time: Option<&str>) {
        let line = self.rendered(&record.into());
        match time {
            Some(time) if !self.is_json() => self.print(&format!("{time} {line}")),
            _ => self.print(&line),
        }
    }

    /// A message of the compiler, as it comes, with its colors where stderr has any.
    pub(crate) fn compiler(&self, rendered: &str) {
        let text = rendered.trim_end_matches('\n');
        match self.colours.stderr {
            // Over the line in which cargo shows its progress; cargo draws that again.
            true => self.say(&format!("\r\u{1b}[K{text}\n")),
            false => self.say(&format!("{}\n", strip_str(text))),
        }
    }

    /// A note, not data: on stderr, without a mark.
    pub(crate) fn note(&self, text: &str) {
        self.say(text);
    }

    /// Whether nobody can read stdout any more: its pipe or terminal is closed at the other end.
    fn is_reader_gone(&self) -> bool {
        let stdout = io::stdout();
        let mut watched = [PollFd::new(stdout.as_fd(), PollFlags::empty())];
        let gone = |found: PollFlags| found.intersects(PollFlags::POLLERR | PollFlags::POLLHUP);
        poll(&mut watched, PollTimeout::ZERO).is_ok() && watched[0].revents().is_some_and(gone)
    }

    /// Waits until the reader of our pipe has gone. On a terminal it waits for ever.
    pub(crate) async fn reader_gone(&self) {
        while !self.is_reader_gone() {
            tokio::time::sleep(READER_LOOK).await;
        }
    }

    fn rendered(&self, line: &LogText<'_>) -> String {
        if self.is_json() {
            return line.json();
        }
        let own = line.worker().len();
        let width = self.width.fetch_max(own, Ordering::Relaxed).max(own);
        line.text(width, self.colours.stdout)
    }
}

impl Report for Output {
    fn status(&self, verb: &str, text: &str) {
        self.status(verb, text);
    }

    fn warning(&self, text: &str) {
        self.warning(text);
    }

    fn error(&self, text: &str) {
        self.error(&text);
    }

    fn flush(&self) {
        self.flush();
    }
}
