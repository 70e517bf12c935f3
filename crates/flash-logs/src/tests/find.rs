//! Reading: filters, the tail, following.
use tempfile::TempDir;

use super::*;
use crate::LogLevel;

fn filled(directory: &TempDir, count: usize) -> LogStore {
    let store = LogStore::open(directory.path(), small()).unwrap();
    let sink = store.sink();
    for number in 0..count {
        sink(line(if number % 10 == 0 { "rare" } else { "w1" }, number.to_string()));
    }
    store
}

#[tokio::test]
async fn the_last_lines_that_fit_are_found_across_segments() {
    let directory = TempDir::new().unwrap();
    let store = filled(&directory, 1000);
    assert_eq!(texts(&store, &last(3, Selected::default())).await, ["997", "998", "999"]);
    assert!(segments(directory.path()).len() > 10);
    let rare = Selected { worker: Some("rare".into()), ..Selected::default() };
    let tens: Vec<String> = (50..100).map(|ten| (ten * 10).to_string()).collect();
    assert_eq!(texts(&store, &last(50, rare.clone())).await, tens);
    assert_eq!(texts(&store, &last(5000, rare)).await.len(), 100, "all that there are");
    assert_eq!(texts(&store, &last(1000, Selected::default())).await, numbers(0..1000));
}

#[tokio::test]
async fn the_tail_finds_lines_longer_than_a_block() {
    let directory = TempDir::new().unwrap();
    let store = LogStore::open(directory.path(), LogLimits::default()).unwrap();
    let sink = store.sink();
    let long = |sign: char| String::from(sign).repeat(segment::BLOCK * 2 + 7);
    for sign in ['a', 'b', 'c'] {
        sink(line("w1", long(sign)));
        sink(line("w1", "short"));
    }
    assert_eq!(texts(&store, &last(3, Selected::default())).await, ["short", &long('c'), "short"]);
    let search = Selected { search: Some("^[ab]".into()), ..Selected::default() };
    assert_eq!(texts(&store, &last(2, search)).await, [long('a'), long('b')]);
}

#[tokio::test]
async fn following_loses_and_doubles_nothing_over_changes_of_segments() {
    let directory = TempDir::new().unwrap();
    let store = filled(&directory, 500);
    let sink = store.sink();
    let speaker = std::thread::spawn(move || {
        (500..3000).for_each(|number| sink(line("w1", number.to_string())));
    });
    let mut following = store.query(&LogQuery { follow: true, ..all() }).unwrap();
    for number in 0..3000 {
        assert_eq!(next(&mut following).await.text, number.to_string());
    }
    speaker.join().unwrap();
    assert!(segments(directory.path()).len() > 20);
    // Also one by one, each soon after it was logged.
    for number in 3000..3010 {
        let said = std::time::Instant::now();
        store.sink()(line("w1", number.to_string()));
        assert_eq!(next(&mut following).await.text, number.to_string());
        assert!(said.elapsed() < Duration::from_secs(1));
    }
    store.close();
    assert!(tokio::time::timeout(BOUND, following.next()).await.unwrap().is_none(), "it ends with the store");
}

#[tokio::test]
async fn a_tail_of_nothing_gives_only_what_comes() {
    let directory = TempDir::new().unwrap();
    let store = filled(&directory, 50);
    assert_eq!(texts(&store, &last(1, Selected::default())).await, ["49"]);
    let mut following = store.query(&LogQuery { tail: Tail::Nothing, follow: true, ..all() }).unwrap();
    // The thread may begin after the first of them: then it is not among what comes.
    let speaking = std::thread::spawn({
        let store = store.clone();
        move || (50..2000).for_each(|number| store.sink()(line("w1", number.to_string())))
    });
    let first: usize = next(&mut following).await.text.parse().unwrap();
    assert!(first >= 50, "{first}");
    speaking.join().unwrap();
}

#[tokio::test]
async fn each_filter_asks_for_its_member() {
    let directory = TempDir::new().unwrap();
    let store = LogStore::open(directory.path(), LogLimits::default()).unwrap();
    let sink = store.sink();
    let level = |text: &str, level: &str| LogLine { level: Some(level.into()), ..line("w1", text) };
    sink(LogLine { time: day(1), release: Some(1), ..line("w1", "old") });
    sink(LogLine { time: day(2), release: Some(2), stream: LogStream::Stderr, ..line("w2", "oops") });
    sink(LogLine { time: day(3), stream: LogStream::System, ..line("w2", "ended") });
    sink(LogLine { time: day(4), ..level("details", "DEBUG") });
    sink(LogLine { time: day(5), worker_type: "cpu".into(), ..level("broken pipe", "ERROR") });
    let micros = |number: u64| (20_000 + number) * 24 * 3600 * 1_000_000;
    let cases = [
        (Selected { worker: Some("w2".into()), ..Selected::default() }, vec!["oops", "ended"]),
        (Selected { worker: Some("cpu".into()), ..Selected::default() }, vec!["broken pipe"]),
        (Selected { release: Some(2), ..Selected::default() }, vec!["oops"]),
        (Selected { since_us: Some(micros(4)), ..Selected::default() }, vec!["details", "broken pipe"]),
        (Selected { until_us: Some(micros(2)), ..Selected::default() }, vec!["old"]),
        (
            Selected { search: Some("(?i)PIPE|^old$".into()), ..Selected::default() },
            vec!["old", "broken pipe"],
        ),
        (Selected { level: Some(LogLevel::Warn), ..Selected::default() }, vec!["oops", "broken pipe"]),
        (
            Selected { level: Some(LogLevel::Info), ..Selected::default() },
            vec!["old", "oops", "ended", "broken pipe"],
        ),
        (Selected { streams: vec![LogStream::System], ..Selected::default() }, vec!["ended"]),
    ];
    for (select, expected) in cases {
        assert_eq!(texts(&store, &of(select.clone())).await, expected, "{select:?}");
        assert_eq!(texts(&store, &last(9, select.clone())).await, expected, "{select:?}, from the end");
    }
    let error = store.query(&of(Selected { search: Some("(".into()), ..Selected::default() })).err().unwrap();
    assert_eq!(error.position, Some(1));
}

#[tokio::test]
async fn a_request_is_joined_over_its_hops_and_a_job_over_the_lines_of_its_worker() {
    let directory = TempDir::new().unwrap();
    let store = LogStore::open(directory.path(), LogLimits::default()).unwrap();
    let sink = store.sink();
    let said = |worker: &str, request: &str, job: Option<&str>, text: &str| LogLine {
        request_id: Some(request.into()),
        job_id: job.map(Into::into),
        ..line(worker, text)
    };
    let request = "0190b6c0-d2f0-7c0a-8000-000000000000";
    sink(said("front", request, None, "in"));
    sink(said("gpu-1", request, None, "loading"));
    sink(said("gpu-1", "other", Some("j2"), "another job"));
    sink(said("gpu-1", request, Some("j3"), "its sister"));
    sink(said("gpu-1", request, Some("j1"), "completed"));
    sink(said("front", request, None, "out"));
    let hops = ["in", "loading", "its sister", "completed", "out"];
    for id in [request, "0190b6c0"] {
        let select = Selected { request: Some(id.into()), ..Selected::default() };
        assert_eq!(texts(&store, &of(select)).await, hops, "{id}");
    }
    let select = Selected { request: Some("othe".into()), ..Selected::default() };
    assert!(texts(&store, &of(select)).await.is_empty(), "ids of clients are compared whole");
    let job = Selected { job: Some("j1".into()), ..Selected::default() };
    assert_eq!(texts(&store, &of(job.clone())).await, ["loading", "completed"]);
    assert_eq!(texts(&store, &last(1, job)).await, ["completed"]);
}
