//! Whatever users write is shown as text, and every link leads somewhere.
use std::time::Duration;

use super::*;
use crate::{ROOT, asset, view::*};

/// What would be markup, an attribute or a script if it was not escaped.
const HOSTILE: &str = "\"'><script>alert(1)</script><img src=x onerror=alert(1)>&amp;";

fn text() -> String {
    HOSTILE.to_owned()
}

fn frame_of_app() -> Frame {
    Frame {
        app: Some(text()),
        place: text(),
        release: Some(3),
        pages: Page::ALL.to_vec(),
        has_session: true,
        build_problem: Some(BuildProblem { time_ms: 1, text: text() }),
        now_ms: 1_700_000_000_000,
    }
}

fn hop(state: State) -> Hop {
    Hop {
        worker_type: text(),
        function: Some(text()),
        worker: Some(text()),
        job: Some(text()),
        state,
        began_ms: 1,
        waited: Duration::from_millis(5),
        starting: Duration::from_millis(2),
        ran: Duration::ZERO,
        cost: 7,
        error: Some(text()),
        answered: None,
    }
}

#[test]
fn a_route_that_refused_its_caller_is_not_shown_as_completed() {
    let of = |answered| parts::outcome(&Hop { answered, ..hop(State::Completed) }).into_string();
    assert!(of(None).contains("completed") && of(Some(200)).contains("completed"));
    let refused = of(Some(422));
    assert!(refused.contains("answered 422") && !refused.contains("completed"), "{refused}");
}

fn line(level: Level) -> LogLine {
    LogLine {
        time_ms: 1,
        worker_type: text(),
        worker: Some(text()),
        request_id: Some(text()),
        level,
        is_of_platform: false,
        text: text(),
    }
}

fn full_overview() -> Overview {
    let curve = Curve { name: text(), values: vec![None, Some(1.5)] };
    Overview {
        since_ms: Some(1),
        draining: vec![1, 2],
        workers: vec![WorkerType {
            name: text(),
            compute: text(),
            counts: Counts { busy: 1, idle: 2, starting: 30, stopping: 1, unhealthy: 1, throttled: 1 },
            loading: Some(text()),
            latency: Some(Latency {
                p50: Duration::from_millis(1),
                p95: Duration::from_secs(1),
                p99: Duration::from_secs(100),
                calls: 3,
            }),
            cost: Some(1),
            ..WorkerType::default()
        }],
        problems: vec![Problem {
            time_ms: 1,
            worker_type: text(),
            message: text(),
            request_id: Some(text()),
        }],
        curves: vec![Chart {
            title: "Waiting",
            values: Values::Counts,
            times_ms: vec![1, 2],
            curves: vec![curve],
        }],
        example: Some(text()),
        ..Overview::default()
    }
}

fn plan() -> ShownChanges {
    ShownChanges {
        lines: vec![ChangeLine { sign: "+", text: text() }],
        items: 1,
        left_out: 3,
        breaking: vec![text()],
        cost_before: Some(text()),
        cost_after: "$1".to_owned(),
    }
}

fn release(state: ShownState) -> ShownRelease {
    ShownRelease {
        number: 2,
        created_ms: 1,
        state,
        commit: Some(text()),
        digest: text(),
        notes: vec![text()],
        can_return: true,
        changes: Some((Some(1), plan())),
    }
}

/// All pages with all that they can show.
fn full_pages() -> Vec<String> {
    let frame = &frame_of_app();
    let filter = RequestFilter { id: text(), function: text(), state: Some(State::Failed) };
    let row = |state| RequestRow { id: text(), first: hop(state), hops: 3, cost: 5 };
    let shown = |state| RequestHop {
        hop: hop(state),
        hides_values: true,
        input: Some(Value { text: text(), bytes: 1000 }),
        output: Some(Value { text: text(), bytes: HOSTILE.len() }),
        can_cancel: true,
        can_retry: true,
        run_again: Some(text()),
    };
    let worker = |state, ended| Worker {
        id: text(),
        release: 1,
        state,
        started_ms: 1,
        ready_ms: Some(2),
        ended,
        running: 2,
        loading: Some(text()),
        usage: Some(Usage { cores: 0.25, memory_bytes: 12_000_000 }),
        last_lines: vec![text()],
    };
    let job = FailedJob {
        worker_type: text(),
        job: text(),
        request_id: Some(text()),
        function: Some(text()),
        submitted_ms: 1,
        attempts: 3,
        error: text(),
    };
    let schedule = Schedule {
        function: text(),
        worker_type: text(),
        when: text(),
        next_ms: Some(1),
        is_paused: false,
        problem: Some(text()),
        last: Some(LastRun { job: text(), started_ms: 1, state: Some(State::TimedOut) }),
    };
    vec![
        overview(frame, &full_overview()),
        requests(
            frame,
            &Requests {
                filter,
                rows: State::ALL.map(row).to_vec(),
                page: 2,
                before: 200,
                has_more: true,
                functions: vec![text()],
                example: Some(text()),
            },
        ),
        request(
            frame,
            &Request { id: text(), hops: State::ALL.map(shown).to_vec(), lines: vec![line(Level::Error)] },
        ),
        workers(
            frame,
            &[WorkersOfType {
                name: text(),
                compute: text(),
                workers: vec![
                    worker(WorkerState::Busy, None),
                    worker(WorkerState::Crashed, Some((9, text()))),
                    worker(WorkerState::Ended, Some((9, text()))),
                ],
            }],
        ),
        logs(
            frame,
            &Logs {
                worker: text(),
                request: text(),
                level: "warn".to_owned(),
                search: text(),
                lines: vec![line(Level::Warn), line(Level::Debug)],
                worker_types: vec![text()],
                problem: None,
            },
        ),
        logs(frame, &Logs { problem: Some(text()), ..Logs::default() }),
        costs(
            frame,
            &Costs {
                types: vec![TypeCost { name: text(), per_hour: Some(1), ..TypeCost::default() }],
                functions: vec![FunctionCost {
                    worker_type: text(),
                    function: text(),
                    calls: 0,
                    ran: Duration::ZERO,
                    cost: 1,
                }],
                command: Some(text()),
                ..Costs::default()
            },
        ),
        failed(frame, &Failed { dead: vec![job.clone()], failed: vec![job] }),
        schedules(frame, &[schedule.clone(), Schedule { is_paused: true, last: None, ..schedule }]),
        models(
            frame,
            &Models {
                models: vec![Model { worker_type: text(), name: text(), ..Model::default() }],
                batches: vec![Batches { worker_type: text(), function: text(), ..Batches::default() }],
                curves: full_overview().curves,
            },
        ),
        releases(frame, &[ShownState::Starting, ShownState::Live, ShownState::Failed].map(release)),
        way_back(frame, &WayBack { to: 2, base: Some(3), changes: plan(), taken_back: vec![text()] }),
        message(frame, HOSTILE, HOSTILE),
        login(HOSTILE, Some(HOSTILE)),
        log_item(&line(Level::Info)),
    ]
}

/// All pages with nothing to show.
fn empty_pages() -> Vec<String> {
    let frame = &Frame::default();
    vec![
        overview(frame, &Overview { down: Some("nothing".to_owned()), ..Overview::default() }),
        requests(frame, &Requests::default()),
        request(frame, &Request { id: String::new(), hops: Vec::new(), lines: Vec::new() }),
        workers(frame, &[]),
        logs(frame, &Logs::default()),
        costs(frame, &Costs::default()),
        failed(frame, &Failed::default()),
        schedules(frame, &[]),
        models(frame, &Models::default()),
        releases(frame, &[]),
    ]
}

#[test]
fn no_text_of_a_user_becomes_a_part_of_a_page() {
    for page in full_pages() {
        assert!(!page.contains("<script>alert") && !page.contains("<img"), "{page}");
        assert!(page.contains("&lt;script&gt;"), "the text is shown: {page}");
        // Nor does it end the attribute that it stands in: quotes are escaped, or encoded in addresses.
        assert!(!page.contains("\"'>"), "{page}");
    }
}

#[test]
fn no_page_has_scripts_or_styles_of_its_own() {
    for page in full_pages().iter().chain(&empty_pages()) {
        for forbidden in
            ["<style", " style=", " onclick=", " onerror=\"", "javascript:", "http://", "https://"]
        {
            assert!(!page.contains(forbidden), "{forbidden} in {page}");
        }
        for script in page.split("<script").skip(1) {
            assert!(script.starts_with(" src=\"/_flash/assets/"), "{script}");
        }
    }
}

#[test]
fn every_file_that_a_page_wants_exists_and_all_addresses_are_the_dashboards() {
    for page in full_pages().iter().chain(&empty_pages()) {
        let after = |mark: &str| {
            page.split(mark).skip(1).filter_map(|rest| rest.split('"').next()).collect::<Vec<_>>()
        };
        for address in [after("href=\""), after("src=\""), after("action=\"")].concat() {
            match address.strip_prefix("/_flash/assets/") {
                Some(file) => assert!(asset(file).is_some(), "{file}"),
                None => assert!(address.starts_with(ROOT) || address == "#content", "{address}"),
            }
        }
    }
}

#[test]
fn a_page_without_anything_says_what_to_do_next() {
    let pages = empty_pages();
    for (page, words) in [
        (&pages[0], "flash deploy send"),
        (&pages[1], "No requests yet."),
        (&pages[3], "flash deploy send"),
        (&pages[4], "What workers print"),
        (&pages[5], "Costs begin with the first worker."),
        (&pages[6], "No job has failed."),
    ] {
        assert!(page.contains(words), "{words}: {page}");
    }
}

#[test]
fn a_state_is_told_by_a_word_too() {
    let page = overview(&frame_of_app(), &full_overview());
    for words in ["1 busy", "2 idle", "30 starting", "1 unhealthy"] {
        assert!(page.contains(words), "{words}");
    }
    assert_eq!(
        page.matches("class=\"dot starting\"").count(),
        12,
        "more dots than can be counted help nobody"
    );
    assert!(page.contains("aria-label=\"Waiting, now: "), "curves are told in words");
}
