//! Everything that `flash` prints. Data goes to stdout, everything else to stderr; color only on a terminal.
//!
//! With `--json`, each line on stdout is one JSON object with an `event`. Lints forbid printing elsewhere. A closed
//! pipe is a normal end: it only stops the printing. A paused reader (`less`, Ctrl-S) must not stop the platform:
//! lines go through bounded queues to one writing thread per stream, and excess log lines are dropped and counted.
mod writer;

use std::{
    io::{self, IsTerminal as _},
    os::fd::AsFd as _,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use flash_platform::LogLine;
use flash_target::{LogRecord, LogStream};
use flash_target_local::{Report, SharedReport};
use indicatif::{ProgressBar, ProgressStyle};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde::Serialize;
use serde_json::{Value, json};

use crate::exit::Failure;
use writer::{DropPriority, LineWriter};

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

/// How long to wait at the end for a reader of stdout that does not read.
const LAST_WRITES: Duration = Duration::from_secs(1);
/// How long to wait for one of stderr, where errors go.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// How data is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// For people.
    Text,
    /// For programs.
    Json,
}

impl Format {
    /// From `--json`.
    pub(crate) fn of_flag(json: bool) -> Self {
        if json { Self::Json } else { Self::Text }
    }
}

/// The streams that get colors.
#[derive(Debug, Clone, Copy)]
struct Colours {
    stdout: bool,
    stderr: bool,
}

/// What happens to an item of a list of changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ChangeMark {
    Created,
    Changed,
    Removed,
    /// A part of the item above.
    Part,
}

impl ChangeMark {
    /// At the start of its line.
    pub(crate) fn sign(self) -> &'static str {
        match self {
            Self::Created => "+",
            Self::Changed => "~",
            Self::Removed => "-",
            Self::Part => " ",
        }
    }

    fn colour(self) -> &'static str {
        match self {
            Self::Created => GREEN,
            Self::Removed => RED,
            Self::Changed | Self::Part => YELLOW,
        }
    }
}

/// The state of a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mark {
    Good,
    Note,
    Bad,
}

/// A row of the endpoint table.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Endpoint {
    pub method: String,
    pub path: String,
    pub function: String,
    pub worker: String,
    pub compute: String,
    pub workers: String,
    pub curl: String,
}

/// A progress bar on stderr; nothing if stderr is not a terminal. Removed when dropped.
pub(crate) struct Progress(ProgressBar);

impl Progress {
    /// Sets the bytes done.
    pub(crate) fn set(&self, done: u64) {
        self.0.set_position(done);
    }

    /// Sets the total.
    pub(crate) fn set_total(&self, total: u64) {
        self.0.set_length(total);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

const DIM: &str = "\u{1b}[2m";
const BOLD: &str = "\u{1b}[1m";
const RED: &str = "\u{1b}[31m";
const GREEN: &str = "\u{1b}[32m";
const YELLOW: &str = "\u{1b}[33m";
const RESET: &str = "\u{1b}[0m";

impl Output {
    pub(crate) fn new(format: Format) -> Self {
        let wanted = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        let colours = Colours {
            stdout: wanted && format == Format::Text && io::stdout().is_terminal(),
            stderr: wanted && io::stderr().is_terminal(),
        };
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
        let bar = ProgressBar::new_spinner();
        if let Ok(style) = ProgressStyle::with_template("{prefix:>12} {msg} {spinner}") {
            bar.set_style(style);
        }
        bar.set_prefix(verb.to_owned());
        bar.set_message(what.to_owned());
        bar.enable_steady_tick(Duration::from_millis(200));
        Progress(bar)
    }

    /// Shows progress in bytes.
    pub(crate) fn progress(&self, verb: &str, what: &str) -> Progress {
        let bar = ProgressBar::new(0);
        // The template is fixed and valid.
        if let Ok(style) = ProgressStyle::with_template("{prefix:>12} {msg} {bytes}/{total_bytes} {wide_bar}")
        {
            bar.set_style(style);
        }
        bar.set_prefix(verb.to_owned());
        bar.set_message(what.to_owned());
        Progress(bar)
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
        let up =
            format!("{bold}{app}{reset} is up at {bold}{url}{reset}  (API docs: {url}/docs, stop: Ctrl-C)\n");
        self.print_or_drop(up, DropPriority::Event);
        self.endpoints(endpoints);
    }

    /// The endpoint table alone.
    pub(crate) fn endpoints(&self, endpoints: &[Endpoint]) {
        let (dim, reset) = if self.colours.stdout { (DIM, RESET) } else { ("", "") };
        let width = |column: fn(&Endpoint) -> &str| {
            endpoints.iter().map(|row| column(row).chars().count()).max().unwrap_or(0)
        };
        let (path, function, worker, compute) = (
            width(|row| &row.path),
            width(|row| &row.function),
            width(|row| &row.worker),
            width(|row| &row.compute),
        );
        for row in endpoints {
            let Endpoint { method, workers, .. } = row;
            let head = format!(
                "  {method:<6} {:<path$}  {:<function$}  {:<worker$}  {:<compute$}  {workers}",
                row.path, row.function, row.worker, row.compute
            );
            self.print_or_drop(head.trim_end().to_owned(), DropPriority::Event);
            self.print_or_drop(format!("  {dim}{}{reset}", row.curl), DropPriority::Event);
        }
        self.print_or_drop(String::new(), DropPriority::Event);
    }

    /// A planned change, colored by its mark.
    pub(crate) fn change(&self, mark: ChangeMark, text: &str) {
        let (colour, reset) = if self.colours.stdout { (mark.colour(), RESET) } else { ("", "") };
        self.print(&format!("{colour}{}{reset} {text}", mark.sign()));
    }

    /// One JSON object: everything that a command prints with `--json`.
    pub(crate) fn object(&self, object: &impl Serialize) {
        // It consists of maps with string keys, so it has a JSON form.
        if let Ok(text) = serde_json::to_string(object) {
            self.print(&text);
        }
    }

    /// One line of data.
    pub(crate) fn line(&self, text: &str) {
        self.print(text);
    }

    /// A finding, and below it what it means and what to do.
    pub(crate) fn finding(&self, mark: Mark, name: &str, said: &str, below: &[&str]) {
        let (sign, colour) = match mark {
            Mark::Good => ("✓", GREEN),
            Mark::Note => ("!", YELLOW),
            Mark::Bad => ("✗", RED),
        };
        let (colour, dim, reset) = if self.colours.stdout { (colour, DIM, RESET) } else { ("", "", "") };
        self.print(&format!("{colour}{sign}{reset} {name:<14} {said}"));
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
                self.status("Reloaded", &format!("the new version serves ({:.1} s)", took.as_secs_f64()));
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
        let time = line.time.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        let line = self.rendered(&Drawn {
            time_ms: u64::try_from(time.as_millis()).unwrap_or(u64::MAX),
            release: line.release,
            worker_type: &line.worker_type,
            worker: line.worker.as_deref(),
            request_id: line.request_id.as_deref(),
            job_id: line.job_id.as_deref(),
            stream: line.origin.into(),
            level: line.level.as_deref(),
            text: &line.text,
        });
        self.print_or_drop(line, DropPriority::Log);
    }

    /// A stored log line, after a time for people if there is one. None is dropped.
    pub(crate) fn record(&self, record: &LogRecord, time: Option<&str>) {
        let line = self.rendered(&Drawn {
            time_ms: record.time_us / 1000,
            release: record.release,
            worker_type: &record.worker_type,
            worker: record.worker.as_deref(),
            request_id: record.request_id.as_deref(),
            job_id: record.job_id.as_deref(),
            stream: record.stream,
            level: record.level.as_deref(),
            text: &record.text,
        });
        match time {
            Some(time) if !self.is_json() => self.print(&format!("{time} {line}")),
            _ => self.print(&line),
        }
    }

    /// A note, not data: on stderr, without a mark.
    pub(crate) fn note(&self, text: &str) {
        self.say(text);
    }

    /// Whether nobody can read stdout any more: its pipe or terminal is closed at the other end.
    pub(crate) fn is_reader_gone(&self) -> bool {
        let stdout = io::stdout();
        let mut watched = [PollFd::new(stdout.as_fd(), PollFlags::empty())];
        let gone = |found: PollFlags| found.intersects(PollFlags::POLLERR | PollFlags::POLLHUP);
        poll(&mut watched, PollTimeout::ZERO).is_ok() && watched[0].revents().is_some_and(gone)
    }

    fn rendered(&self, line: &Drawn<'_>) -> String {
        if self.is_json() {
            return log_json(line).to_string();
        }
        let worker = line.worker.unwrap_or(line.worker_type);
        let width = self.width.fetch_max(worker.len(), Ordering::Relaxed).max(worker.len());
        let request = printable(line.request_id.unwrap_or("-"));
        let (dim, colour, reset) = match (self.colours.stdout, line.stream) {
            (false, _) => ("", "", ""),
            (true, LogStream::Stderr) => (DIM, RED, RESET),
            (true, LogStream::System) => (DIM, DIM, RESET),
            (true, LogStream::Stdout) => (DIM, "", RESET),
        };
        // The first characters of an ID made by Flash are enough to tell requests apart, and to select their lines.
        let request = short_id(&request);
        let level = line.level.map_or(String::new(), |level| printable(level) + " ");
        let text = printable(line.text);
        format!("{dim}{worker:<width$} {request:<8} |{reset} {colour}{level}{text}{reset}")
    }
}

/// The first characters of a random UUID. Other IDs as they are: they may share their beginnings, and time-ordered
/// ones do.
fn short_id(id: &str) -> &str {
    let is_random = uuid::Uuid::try_parse(id).is_ok_and(|id| id.get_version_num() == 4);
    id.get(..8).filter(|_| is_random).unwrap_or(id)
}

fn table_lines(head: &[&str], rows: &[Vec<String>]) -> Vec<String> {
    let cell = |row: &[String], column: usize| row.get(column).cloned().unwrap_or_default();
    let is_number = |text: &str| text.split(' ').next().is_some_and(|word| word.parse::<f64>().is_ok());
    let columns = (0..head.len()).map(|column| {
        let cells = || rows.iter().map(|row| cell(row, column));
        let widest = cells().map(|text| text.chars().count()).max().unwrap_or(0);
        let numbers = !rows.is_empty() && cells().all(|text| is_number(&text));
        (widest.max(head[column].chars().count()), numbers)
    });
    let columns: Vec<(usize, bool)> = columns.collect();
    let line = |row: &[String]| {
        let cells = columns.iter().enumerate().map(|(column, (width, numbers))| {
            let text = cell(row, column);
            if *numbers { format!("{text:>width$}") } else { format!("{text:<width$}") }
        });
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    let head: Vec<String> = head.iter().map(|text| (*text).to_owned()).collect();
    std::iter::once(&head).chain(rows).map(|row| line(row)).collect()
}

/// A worker's text without anything that would move the cursor or end the line.
///
/// Colors are kept: `ESC [ … m`. Other sequences could clear the screen or write to the user's clipboard.
fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for (at, char) in text.char_indices() {
        let is_colour = || {
            let rest = text[at + 1..].strip_prefix('[');
            rest.and_then(|rest| {
                rest.find(|char: char| !char.is_ascii_digit() && char != ';').map(|end| &rest[end..])
            })
            .is_some_and(|end| end.starts_with('m'))
        };
        let stays = !char.is_control() || char == '\t' || (char == '\u{1b}' && is_colour());
        shown.push(if stays { char } else { ' ' });
    }
    shown
}

/// A log line, from any source.
struct Drawn<'a> {
    time_ms: u64,
    release: Option<u64>,
    worker_type: &'a str,
    worker: Option<&'a str>,
    request_id: Option<&'a str>,
    job_id: Option<&'a str>,
    stream: LogStream,
    level: Option<&'a str>,
    text: &'a str,
}

fn log_json(line: &Drawn<'_>) -> Value {
    json!({
        "event": "log",
        "time_ms": line.time_ms,
        "release": line.release,
        "worker_type": line.worker_type,
        "worker": line.worker,
        "request_id": line.request_id,
        "job_id": line.job_id,
        "stream": line.stream,
        "level": line.level,
        "text": line.text,
    })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_what_workers_print_only_colours_reach_the_terminal() {
        assert_eq!(printable("\u{1b}[1;31mred\u{1b}[0m\tend"), "\u{1b}[1;31mred\u{1b}[0m\tend");
        assert_eq!(printable("\u{1b}[2Ja\u{1b}]52;c;eA==\u{7}b\rc\u{1b}"), " [2Ja ]52;c;eA== b c ");
    }

    #[test]
    fn ids_that_flash_made_are_shown_by_their_beginning_and_others_whole() {
        assert_eq!(short_id("c1b4a7d0-d2f0-4c0a-8000-000000000000"), "c1b4a7d0");
        for whole in ["-", "order-2026-000001", "0190b6c0-d2f0-7c0a-8000-000000000000", ""] {
            assert_eq!(short_id(whole), whole);
        }
    }

    #[test]
    fn columns_are_aligned_and_numbers_at_their_right() {
        let row = |cells: [&str; 3]| cells.map(str::to_owned).to_vec();
        let lines = table_lines(
            &["worker", "size", "functions"],
            &[row(["a", "9.5 MB", "one"]), row(["longer-name", "12.5 MB", ""])],
        );
        assert_eq!(
            lines,
            ["worker          size  functions", "a             9.5 MB  one", "longer-name  12.5 MB",]
        );
    }
}
