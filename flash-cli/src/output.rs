//! All that `flash` prints. Data goes to stdout, everything else to stderr; colour only on a terminal.
//!
//! With `--json` each line on stdout is one JSON object with an `event`. Printing elsewhere is forbidden
//! by lints. A closed pipe is a normal end: it stops the printing and nothing else.
use std::{
    io::{IsTerminal as _, Write as _},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use serde::Serialize;
use serde_json::{Value, json};

use crate::target::local::{LogLine, Origin};

/// How a command prints. Cheap to share.
#[derive(Clone)]
pub(crate) struct Output {
    json: bool,
    /// Colour on stdout and on stderr.
    colour: (bool, bool),
    /// The widest worker id so far, for alignment.
    width: Arc<AtomicUsize>,
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

const DIM: &str = "\u{1b}[2m";
const BOLD: &str = "\u{1b}[1m";
const RED: &str = "\u{1b}[31m";
const GREEN: &str = "\u{1b}[32m";
const RESET: &str = "\u{1b}[0m";

impl Output {
    pub(crate) fn new(json: bool) -> Self {
        let wanted = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        let colour =
            (wanted && !json && std::io::stdout().is_terminal(), wanted && std::io::stderr().is_terminal());
        Self { json, colour, width: Arc::new(AtomicUsize::new(24)) }
    }

    fn print(&self, line: &str) {
        let mut stdout = std::io::stdout().lock();
        // A reader that went away is no failure of ours.
        let _ = stdout
            .write_all(line.as_bytes())
            .and_then(|()| stdout.write_all(b"\n"))
            .and_then(|()| stdout.flush());
    }

    fn say(&self, line: &str) {
        let _ = writeln!(std::io::stderr().lock(), "{line}");
    }

    fn event(&self, event: &str, mut members: Value) {
        if let Value::Object(members) = &mut members {
            members.insert("event".to_owned(), event.into());
        }
        self.print(&members.to_string());
    }

    /// A step begins or ended: what happens now.
    pub(crate) fn status(&self, verb: &str, text: &str) {
        let (bold, reset) = if self.colour.1 { (GREEN, RESET) } else { ("", "") };
        self.say(&format!("{bold}{verb:>12}{reset} {text}"));
    }

    /// Something is wrong, and the command goes on.
    pub(crate) fn warning(&self, text: &str) {
        let (red, reset) = if self.colour.1 { (RED, RESET) } else { ("", "") };
        self.say(&format!("{red}warning{reset}: {text}"));
    }

    /// Something is wrong, and the command ends or a step is given up.
    pub(crate) fn error(&self, text: &dyn std::fmt::Display) {
        let (red, reset) = if self.colour.1 { (RED, RESET) } else { ("", "") };
        self.say(&format!("{red}error{reset}: {text}"));
    }

    /// The server is up: one table, a copyable `curl` each.
    pub(crate) fn ready(&self, url: &str, app: &str, endpoints: &[Endpoint]) {
        if self.json {
            return self.event("ready", json!({ "url": url, "app": app, "endpoints": endpoints }));
        }
        let (bold, dim, reset) = if self.colour.0 { (BOLD, DIM, RESET) } else { ("", "", "") };
        let width = |column: fn(&Endpoint) -> &str| {
            endpoints.iter().map(|row| column(row).chars().count()).max().unwrap_or(0)
        };
        let (path, function, worker, compute) = (
            width(|row| &row.path),
            width(|row| &row.function),
            width(|row| &row.worker),
            width(|row| &row.compute),
        );
        self.print(&format!(
            "{bold}{app}{reset} is up at {bold}{url}{reset}  (API docs: {url}/docs, stop: Ctrl-C)\n"
        ));
        for row in endpoints {
            let Endpoint { method, workers, .. } = row;
            let head = format!(
                "  {method:<6} {:<path$}  {:<function$}  {:<worker$}  {:<compute$}  {workers}",
                row.path, row.function, row.worker, row.compute
            );
            self.print(head.trim_end());
            self.print(&format!("  {dim}{}{reset}", row.curl));
        }
        self.print("");
    }

    /// A new version serves, or why the old one stays.
    pub(crate) fn reloaded(&self, outcome: Result<&str, &str>) {
        match outcome {
            Ok(time) => self.status("Reloaded", &format!("the new version serves ({time})")),
            Err(reason) => self.error(&format!("{reason}; the old version keeps serving")),
        }
        if self.json {
            let error = outcome.err();
            self.event("reload", json!({ "ok": outcome.is_ok(), "error": error }));
        }
    }

    /// A line of a worker's log.
    pub(crate) fn log(&self, line: &LogLine) {
        if self.json {
            return self.event("log", log_json(line));
        }
        let worker = line.worker.as_deref().unwrap_or(&line.worker_type);
        let width = self.width.fetch_max(worker.len(), Ordering::Relaxed).max(worker.len());
        let request = line.request_id.as_deref().unwrap_or("-");
        let (dim, colour, reset) = match (self.colour.0, line.origin) {
            (false, _) => ("", "", ""),
            (true, Origin::Stderr) => (DIM, RED, RESET),
            (true, Origin::System) => (DIM, DIM, RESET),
            (true, Origin::Stdout) => (DIM, "", RESET),
        };
        // On a terminal the beginning of the id is enough to tell requests apart.
        let request = if self.colour.0 { request.get(..8).unwrap_or(request) } else { request };
        let level = line.level.as_deref().map_or(String::new(), |level| format!("{level} "));
        let text = printable(&line.text);
        self.print(&format!("{dim}{worker:<width$} {request:<8} |{reset} {colour}{level}{text}{reset}"));
    }
}

/// A worker's text without what would move the cursor or end the line.
fn printable(text: &str) -> String {
    text.chars()
        .map(|char| if char.is_control() && char != '\t' && char != '\u{1b}' { ' ' } else { char })
        .collect()
}

fn log_json(line: &LogLine) -> Value {
    let stream = match line.origin {
        Origin::Stdout => "stdout",
        Origin::Stderr => "stderr",
        Origin::System => "system",
    };
    let time = line.time.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    json!({
        "time_ms": u64::try_from(time.as_millis()).unwrap_or(u64::MAX),
        "worker_type": line.worker_type,
        "worker": line.worker.as_deref(),
        "request_id": line.request_id,
        "stream": stream,
        "level": line.level,
        "text": line.text,
    })
}
