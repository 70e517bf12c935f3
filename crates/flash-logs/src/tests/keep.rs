//! Writing: order, crashes, disk errors, limits.
use std::{
    fs::{File, OpenOptions},
    io::{self, Write as _},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use parking_lot::Mutex;
use tempfile::TempDir;

use super::*;
use crate::writer::SystemServices;

#[tokio::test]
async fn lines_of_many_threads_are_whole_and_each_threads_in_order() {
    let directory = TempDir::new().unwrap();
    let limits = LogLimits { segment_bytes: 64 * 1024, ..LogLimits::default() };
    let store = LogStore::open(directory.path(), limits).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let sink = store.sink();
            scope.spawn(move || {
                for number in 0..2000 {
                    sink(line(&format!("w{thread}"), format!("{number} {}", "x\n\"".repeat(number % 50))));
                }
            });
        }
    });
    let found = records(&store, &all()).await;
    assert_eq!(found.len(), 16_000);
    for thread in 0..8 {
        let worker = format!("w{thread}");
        let own = found.iter().filter(|record| record.worker.as_deref() == Some(&worker));
        for (number, record) in own.enumerate() {
            assert_eq!(record.text, format!("{number} {}", "x\n\"".repeat(number % 50)));
        }
    }
    assert!(segments(directory.path()).len() > 5, "over several segments");
}

#[tokio::test]
async fn every_member_of_a_line_comes_back() {
    let directory = TempDir::new().unwrap();
    let store = LogStore::open(directory.path(), LogLimits::default()).unwrap();
    let span = SpanIds { trace_id: "a".repeat(32), span_id: "b".repeat(16) };
    let said = LogLine {
        time: day(0),
        level: Some("WARN".into()),
        release: Some(3),
        request_id: Some("r \"1\"".into()),
        job_id: Some("j1".into()),
        span: Some(span.clone()),
        ..line("w1", "ünï\tcode")
    };
    store.sink()(said);
    let record = LogRecord {
        time_us: 20_000 * 24 * 3600 * 1_000_000,
        release: Some(3),
        worker_type: "gpu".into(),
        worker: Some("w1".into()),
        request_id: Some("r \"1\"".into()),
        job_id: Some("j1".into()),
        span: Some(span),
        stream: LogStream::Stdout,
        level: Some("WARN".into()),
        text: "ünï\tcode".into(),
    };
    assert_eq!(records(&store, &all()).await, [record]);
}

#[tokio::test]
async fn a_torn_last_line_is_cut_off_and_the_log_goes_on() {
    let directory = TempDir::new().unwrap();
    let store = LogStore::open(directory.path(), LogLimits::default()).unwrap();
    store.sink()(line("w1", "whole"));
    store.close();
    drop(store);
    let mut file = OpenOptions::new().append(true).open(segment::path(directory.path(), 1)).unwrap();
    file.write_all(b"{\"time_us\":17,\"worker_type\":\"g").unwrap();
    let store = LogStore::open(directory.path(), LogLimits::default()).unwrap();
    store.sink()(line("w1", "after"));
    assert_eq!(texts(&store, &all()).await, ["whole", "after"]);
}

#[test]
fn a_second_store_on_a_directory_is_refused_until_the_first_is_closed() {
    let directory = TempDir::new().unwrap();
    let store = LogStore::open(directory.path(), LogLimits::default()).unwrap();
    let refused = LogStore::open(directory.path(), LogLimits::default()).err().unwrap();
    assert!(refused.to_string().ends_with("is in use by another process"), "{refused}");
    store.close();
    LogStore::open(directory.path(), LogLimits::default()).unwrap();
}

#[tokio::test]
async fn lines_wait_for_a_full_disk_and_what_is_lost_beyond_is_counted() {
    let directory = TempDir::new().unwrap();
    let is_full = Arc::new(AtomicBool::new(true));
    let full = is_full.clone();
    let (failed, failures) = std::sync::mpsc::channel();
    let write = move |file: &mut File, bytes: &[u8]| {
        if full.load(Ordering::SeqCst) {
            let _ = failed.send(());
            return Err(io::ErrorKind::StorageFull.into());
        }
        // In pieces, as a disk that is nearly full writes.
        file.write(&bytes[..bytes.len().div_ceil(2)])
    };
    let services = SystemServices { write: Box::new(write), ..SystemServices::default() };
    let limits = LogLimits { waiting_bytes: 4096, ..small() };
    let store = LogStore::open_by(directory.path(), limits, services).unwrap();
    let sink = store.sink();
    sink(line("w1", "0"));
    failures.recv_timeout(BOUND).unwrap();
    failures.recv_timeout(BOUND).unwrap();
    let began = Instant::now();
    (1..200).for_each(|number| sink(line("w1", number.to_string())));
    assert!(began.elapsed() < Duration::from_secs(20), "nobody waits for each line");
    is_full.store(false, Ordering::SeqCst);
    let mut following = store.query(&LogQuery { follow: true, ..all() }).unwrap();
    let mut kept = Vec::new();
    let note = loop {
        let record = next(&mut following).await;
        match record.stream {
            LogStream::System => break record.text,
            _ => kept.push(record.text),
        }
    };
    assert!(kept.len() > 10 && kept.len() < 199, "{}", kept.len());
    assert_eq!(kept, numbers(0..kept.len()));
    assert_eq!(note, format!("{} lines were lost: no storage space", 200 - kept.len()));
    sink(line("w1", "again"));
    assert_eq!(next(&mut following).await.text, "again");
}

#[tokio::test]
async fn on_a_thread_of_the_runtime_nobody_waits_for_a_slow_disk() {
    let directory = TempDir::new().unwrap();
    let (began, writing) = std::sync::mpsc::channel();
    let (release, stuck) = std::sync::mpsc::channel::<()>();
    let write = move |file: &mut File, bytes: &[u8]| {
        let _ = began.send(());
        let _ = stuck.recv();
        file.write(bytes)
    };
    let services = SystemServices { write: Box::new(write), ..SystemServices::default() };
    let limits = LogLimits { waiting_bytes: 4096, ..small() };
    let store = LogStore::open_by(directory.path(), limits, services).unwrap();
    let sink = store.sink();
    sink(line("w1", "0"));
    writing.recv_timeout(BOUND).unwrap();
    (1..200).for_each(|number| sink(line("w1", number.to_string())));
    drop(release);
    let said = texts(&store, &all()).await;
    let (note, kept) = said.split_last().unwrap();
    assert_eq!(kept, numbers(0..kept.len()));
    // A caller that waited would have found the disk too slow.
    assert_eq!(*note, format!("{} lines were lost: the disk cannot keep up", 200 - kept.len()));
}

#[tokio::test]
async fn the_oldest_segments_go_beyond_the_size() {
    let directory = TempDir::new().unwrap();
    let limits = LogLimits { total_bytes: 5 * 4096, ..small() };
    let store = LogStore::open(directory.path(), limits).unwrap();
    let sink = store.sink();
    (0..1000).for_each(|number| sink(line("w1", number.to_string())));
    let found = texts(&store, &all()).await;
    let bytes: u64 = segment::list(directory.path()).unwrap().iter().map(|segment| segment.bytes).sum();
    assert!(bytes <= 5 * 4096 && bytes > 3 * 4096, "{bytes}");
    assert_eq!(found, numbers(1000 - found.len()..1000), "the newest, without a gap");
}

#[tokio::test]
async fn segments_go_when_they_are_too_old_by_the_clock() {
    let directory = TempDir::new().unwrap();
    let limits = LogLimits { age: Duration::from_secs(14 * 24 * 3600), ..small() };
    let today = Arc::new(Mutex::new(day(0)));
    let open_after = |lived| {
        let today = today.clone();
        let clock = Box::new(move || *today.lock());
        let services = SystemServices { clock, lived: Box::new(move || lived), ..SystemServices::default() };
        LogStore::open_by(directory.path(), limits, services).unwrap()
    };
    let open = || open_after(Duration::from_secs(3600));
    let store = open();
    (0..100).for_each(|number| store.sink()(line("w1", number.to_string())));
    assert_eq!(texts(&store, &all()).await.len(), 100);
    store.close();
    for number in segments(directory.path()) {
        File::options()
            .append(true)
            .open(segment::path(directory.path(), number))
            .unwrap()
            .set_modified(day(0))
            .unwrap();
    }
    *today.lock() = day(14);
    let store = open();
    assert_eq!(texts(&store, &all()).await.len(), 100, "not yet");
    store.close();
    *today.lock() = day(15);
    let store = open_after(Duration::from_secs(3599));
    assert_eq!(texts(&store, &all()).await.len(), 100, "the clock may be wrong so soon after a start");
    store.close();
    let store = open();
    assert!(texts(&store, &all()).await.is_empty());
    store.sink()(line("w1", "new"));
    assert_eq!(texts(&store, &all()).await, ["new"]);
}

#[test]
fn a_burst_of_lines_is_kept_whole() {
    const LINES: usize = 100_000;
    let directory = TempDir::new().unwrap();
    let store = LogStore::open(directory.path(), LogLimits::default()).unwrap();
    let text = "x".repeat(100);
    let began = Instant::now();
    std::thread::scope(|scope| {
        for worker in ["a", "b", "c", "d"] {
            let (sink, text) = (store.sink(), text.as_str());
            scope.spawn(move || (0..LINES / 4).for_each(|_| sink(line(worker, text))));
        }
    });
    let said = began.elapsed();
    store.close();
    let kept: usize = segment::list(directory.path())
        .unwrap()
        .iter()
        .map(|found| std::fs::read(segment::path(directory.path(), found.number)).unwrap())
        .map(|bytes| bytes.iter().filter(|byte| **byte == b'\n').count())
        .sum();
    assert_eq!(kept, LINES);
    eprintln!("said in {said:?}, written in {:?}", began.elapsed());
}
