use std::{io::Write as _, time::Duration};

use super::*;
use crate::supervisor::output::{line::Line, lines::MAX_LINE_BYTES};

/// A worker's writing ends, and its lines as they come.
struct Worker {
    stdout: io::PipeWriter,
    stderr: io::PipeWriter,
    output: Arc<PipedOutput>,
    pump: tokio::task::JoinHandle<()>,
    lines: mpsc::UnboundedReceiver<Line>,
    current: Arc<Mutex<Option<Work>>>,
}

impl Worker {
    /// One whose lines each wait for `before` first.
    fn start(before: impl Fn() + Send + Sync + 'static) -> Self {
        let (stdout, stdout_end) = io::pipe().map(|(read, write)| (write, read)).unwrap();
        let (stderr, stderr_end) = io::pipe().map(|(read, write)| (write, read)).unwrap();
        let (said, lines) = mpsc::unbounded_channel();
        let current: Arc<Mutex<Option<Work>>> = Arc::default();
        let asked = current.clone();
        let on_line = Arc::new(move |line| {
            before();
            let _ = said.send(line);
        });
        let current_work = Arc::new(move || asked.lock().clone());
        let (output, pump) =
            PipedOutput::new(stdout_end.into(), stderr_end.into(), current_work, on_line).unwrap();
        Self { stdout, stderr, output, pump: tokio::spawn(pump.run()), lines, current }
    }

    fn is_at(&self, id: &str) {
        *self.current.lock() = work(id);
    }

    /// Its work ends, and it begins the next one.
    fn turns_to(&self, id: &str) {
        self.output.work_ends();
        self.is_at(id);
    }

    async fn line(&mut self) -> (String, Option<String>) {
        let line = tokio::time::timeout(Duration::from_secs(60), self.lines.recv()).await;
        let line = line.expect("a line comes").expect("the worker lives");
        (line.text, line.work.map(|work| work.request_id))
    }
}

fn work(id: &str) -> Option<Work> {
    Some(Work { request_id: id.to_owned(), job_id: None })
}

fn of(text: &str, request: &str) -> (String, Option<String>) {
    (text.to_owned(), Some(request.to_owned()))
}

#[tokio::test]
async fn what_was_printed_before_a_request_ended_is_its_own_with_or_without_a_newline() {
    let mut worker = Worker::start(|| {});
    worker.is_at("a");
    worker.stdout.write_all(b"one\ntwo").unwrap();
    worker.turns_to("b");
    worker.stdout.write_all(b"three\n").unwrap();
    worker.turns_to("c");
    worker.stdout.write_all(b"four").unwrap();
    assert_eq!(worker.line().await, of("one", "a"));
    assert_eq!(worker.line().await, of("two", "a"));
    assert_eq!(worker.line().await, of("three", "b"));
    drop(worker.stdout);
    let end = tokio::time::timeout(Duration::from_secs(60), worker.lines.recv()).await.unwrap();
    assert_eq!(end.unwrap().text, "four");
}

#[tokio::test]
async fn the_beginning_of_a_line_that_was_read_already_goes_with_its_request() {
    let mut worker = Worker::start(|| {});
    worker.is_at("a");
    worker.stdout.write_all(b"first\nhalf").unwrap();
    // Both are read by now: they came in one chunk.
    assert_eq!(worker.line().await, of("first", "a"));
    worker.turns_to("b");
    assert_eq!(worker.line().await, of("half", "a"));
    worker.stdout.write_all(b"next\n").unwrap();
    assert_eq!(worker.line().await, of("next", "b"));
}

#[tokio::test]
async fn the_last_words_of_a_request_are_out_when_its_end_is_told() {
    let mut worker = Worker::start(|| {});
    worker.is_at("a");
    worker.stdout.write_all(b"one\ntwo\n").unwrap();
    worker.stderr.write_all(b"three\nfour").unwrap();
    worker.turns_to("b");
    let texts = std::iter::from_fn(|| worker.lines.try_recv().ok()).map(|line| line.text);
    assert_eq!(texts.collect::<Vec<_>>(), ["one", "two", "three", "four"]);
}

#[tokio::test]
async fn a_long_line_is_cut_between_characters() {
    let mut worker = Worker::start(|| {});
    let text = format!("x{}", "ö".repeat(MAX_LINE_BYTES));
    let mut stdout = worker.stdout.try_clone().unwrap();
    let written = text.clone();
    let writing = std::thread::spawn(move || writeln!(stdout, "{written}").unwrap());
    let mut parts = String::new();
    while parts.len() < text.len() {
        let (part, _) = worker.line().await;
        assert!(part.len() <= MAX_LINE_BYTES && !part.contains('\u{fffd}'));
        parts.push_str(&part);
    }
    assert_eq!(parts, text);
    writing.join().unwrap();
}

/// The runtime has one thread: any turn that does not end soon would show.
#[tokio::test]
async fn a_worker_that_prints_without_pause_holds_up_nobody_else() {
    let (release, held) = std::sync::mpsc::channel::<()>();
    let held = Mutex::new(held);
    // The receiver of the lines blocks until the end of the test.
    let mut worker = Worker::start(move || {
        let _ = held.lock().recv();
    });
    worker.is_at("a");
    for pipe in [&worker.stdout, &worker.stderr] {
        let mut pipe = pipe.try_clone().unwrap();
        // Ends with the reading end.
        std::thread::spawn(move || while pipe.write_all(&[b'\n'; 65536]).is_ok() {});
    }
    // The pipes stay full, and none of this waits for them.
    for _ in 0..1000 {
        worker.turns_to("a");
        tokio::task::yield_now().await;
    }
    assert!(worker.lines.try_recv().is_err());
    drop(release);
    assert_eq!(worker.line().await, of("", "a"));
    worker.pump.abort();
}

#[tokio::test]
async fn the_pump_ends_when_all_lines_are_out() {
    let mut worker = Worker::start(|| {});
    worker.stderr.write_all(b"one\n\ntwo\r\nthree").unwrap();
    drop((worker.stdout, worker.stderr));
    tokio::time::timeout(Duration::from_secs(60), worker.pump).await.unwrap().unwrap();
    assert_eq!(worker.output.last_lines(), ["one", "", "two", "three"]);
    let mut lines = Vec::new();
    while let Ok(line) = worker.lines.try_recv() {
        lines.push(line.text);
    }
    assert_eq!(lines, ["one", "", "two", "three"]);
}
