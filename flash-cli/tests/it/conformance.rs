//! The official Python `runpod` package, unmodified, against the platform: its clients with our worker, and
//! its worker behind our gateway.
//!
//! The cases are Python, in `conformance/`: there the official package is at home. A script prints a line of
//! JSON for each of its cases; here is the list of those that must be there. The interpreter that has the
//! package is made by `cargo xtask test`.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "the runner shows what a test prints where it matters"
)]

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use nix::sys::signal::Signal;
use serde::Deserialize;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{
    Client, PATIENCE, Running, SOON, copy_of_fixture, fixture, is_alive, root,
    schemathesis::{self, Takes, python},
    skipped::{Needs, skip},
    wait_for,
};

/// Names the modules of Node that have OpenAI's official client.
const NODE_MODULES: &str = "FLASH_TEST_NODE";

/// Signs webhooks: the platform and the receiver have it.
const WEBHOOK_SECRET: (&str, &str) = ("FLASH_WEBHOOK_SECRET", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");

/// Cases of `sync_client.py`.
const SYNC_CLIENT: &[&str] = &[
    "run_gives_a_job_whose_output_comes",
    "run_sync_returns_the_output",
    "a_bare_input_is_the_same_as_a_wrapped_one",
    "an_empty_input_reaches_the_function",
    "unicode_survives_both_ways",
    "numbers_keep_their_value",
    "nine_megabytes_come_back_from_run",
    "fifteen_megabytes_come_back_from_run_sync",
    "run_above_ten_megabytes_is_413",
    "run_sync_above_twenty_megabytes_is_413",
    "a_job_walks_through_its_states",
    "output_gives_up_after_its_timeout",
    "stream_yields_every_chunk_in_order_and_ends",
    "stream_yields_chunks_while_the_job_runs",
    "stream_of_a_job_without_chunks_ends",
    "stream_of_a_failing_job_ends",
    "a_running_job_is_cancelled",
    "a_queued_job_is_cancelled_and_never_runs",
    "cancelling_an_ended_job_tells_its_end",
    "purge_removes_what_waits_and_nothing_else",
    "health_counts_jobs_and_workers",
    "a_failure_is_no_exception_and_has_the_six_keys",
    "a_panic_is_a_failure_with_its_place",
    "a_job_that_kills_its_workers_fails_with_the_signal_and_last_words",
    "a_job_beyond_its_execution_timeout_is_timed_out",
    "a_failed_job_is_retried_with_its_id_and_input",
    "a_completed_job_is_not_retried",
    "an_unknown_endpoint_is_404_with_near_names",
    "an_unknown_job_is_404",
    "an_input_that_does_not_fit_is_422_naming_each_field",
    "a_body_that_is_no_job_is_400",
    "a_body_without_input_is_422",
    "a_load_balanced_worker_takes_no_jobs",
    "one_of_several_functions_is_named_in_the_input",
    "an_endpoint_may_have_a_key_of_its_own",
    "many_callers_each_get_their_own_answer",
];

/// Cases of `async_client.py`.
const ASYNC_CLIENT: &[&str] = &[
    "run_and_output",
    "status_follows_the_job",
    "output_without_a_timeout_asks_nothing_and_gives_up",
    "output_gives_up_after_its_timeout",
    "stream_yields_every_chunk_in_order_and_ends",
    "stream_yields_chunks_while_the_job_runs",
    "a_running_job_is_cancelled",
    "health_has_all_numbers",
    "purge_removes_what_waits",
    "a_failed_job_has_no_output",
    "a_job_beyond_its_execution_timeout_is_timed_out",
    "the_same_client_that_wraps_always_sees_a_refusal_of_wrapped_input",
    "refusals_are_json_too",
    "its_request_id_header_comes_back",
    "unicode_and_megabytes_survive_both_ways",
    "a_hundred_jobs_of_one_session_each_get_their_own_answer",
    "a_client_that_breaks_off_leaves_its_job_running",
];

/// Cases of `other_clients.py`.
const OTHER_CLIENTS: &[&str] = &[
    "flash_reads_a_completed_job",
    "flash_reads_the_answer_of_runsync",
    "flash_reads_a_failed_job",
    "flash_reads_a_timed_out_job",
    "flash_reads_a_job_that_was_cancelled_before_it_ran",
    "flash_reads_health_of_every_kind_of_worker",
    "a_running_job_tells_worker_and_delay",
    "a_queued_job_tells_nothing_but_itself",
    "status_may_be_posted_as_go_does",
    "status_ignores_parameters_that_it_does_not_know",
    "stream_is_held_until_there_is_something_as_go_waits",
    "stream_of_a_job_without_news_answers_within_the_clients_timeout",
    "chunks_are_delivered_once",
    "runsync_whose_wait_runs_out_gives_the_id_to_go_on_with",
    "bearer_and_bare_keys_are_taken",
    "keys_beside_the_input_are_let_pass",
    "an_execution_timeout_of_the_job_wins",
    "a_body_needs_no_content_type",
    "a_wrong_method_is_405_and_names_the_right_one",
    "an_unknown_operation_is_404_and_names_near_ones",
    "status_sync_waits_for_the_end_as_javascript_does",
    "status_sync_may_be_posted_as_go_does",
    "metrics_name_the_ready_workers",
    "requests_lists_jobs_without_their_outputs",
    "an_idempotency_key_gives_the_same_job_again",
    "server_sent_events_carry_every_chunk_and_the_end",
    "a_webhook_gets_the_status_object_with_input_and_itself",
    "a_webhook_is_told_of_a_failure_and_tried_again_when_refused",
    "a_webhook_that_is_no_url_is_422",
    "a_policy_outside_of_its_bounds_is_422",
    "no_input_is_5xx",
];

/// Cases of `worker_results.py`.
const WORKER_RESULTS: &[&str] = &[
    "an_object_comes_back",
    "unicode_comes_back",
    "results_that_are_no_objects_come_back",
    "none_is_an_output_of_null",
    "an_empty_object_is_no_output",
    "an_empty_input_reaches_the_handler",
    "eighteen_megabytes_come_back",
    "the_handler_sees_the_job_as_it_was_sent",
    "an_exception_is_a_failure_with_the_six_keys",
    "a_returned_error_is_a_failure",
    "what_is_beside_a_returned_error_is_the_output",
    "an_error_that_is_no_text_is_told_as_text",
    "an_empty_error_is_no_failure",
    "the_client_sees_a_failure_as_no_output",
    "progress_is_the_output_of_a_running_job",
    "a_result_that_is_no_json_ends_the_job",
    "a_result_of_not_a_number_ends_the_job",
    "a_result_of_twenty_two_megabytes_fails_the_job",
    "a_worker_that_ends_by_itself_is_replaced_and_the_job_fails_after_three",
    "a_rust_function_calls_the_python_worker",
    "a_failure_of_the_python_worker_reaches_the_caller_of_the_rust_function",
];

/// Cases of `worker_streams.py`.
const WORKER_STREAMS: &[&str] = &[
    "a_generator_streams",
    "an_asynchronous_generator_streams",
    "an_aggregating_generator_streams_and_returns_its_chunks",
    "an_asynchronous_aggregating_generator_streams_and_returns_its_chunks",
    "chunks_arrive_while_the_generator_runs",
    "without_aggregate_a_caller_that_does_not_stream_gets_an_empty_list",
    "with_aggregate_a_caller_that_does_not_stream_gets_all_chunks",
    "a_generator_that_raises_fails_after_its_chunks",
    "a_generator_that_yields_an_error_fails_there",
    "a_generator_that_yields_nothing_completes",
    "the_last_answer_of_stream_has_all_that_is_left",
    "a_job_whose_chunks_nobody_fetches_and_it_does_not_return_fails_with_the_reason",
];

/// Cases of `worker_life.py`.
const WORKER_LIFE: &[&str] = &[
    "an_asynchronous_handler_sees_its_cancel_and_the_process_goes_on",
    "a_handler_that_blocks_is_killed_with_its_process_when_cancelled",
    "an_asynchronous_handler_beyond_its_execution_timeout_is_stopped",
    "a_concurrency_modifier_takes_jobs_in_batches_and_runs_them_beside_each_other",
    "one_of_several_jobs_of_a_process_is_cancelled_and_the_others_go_on",
    "refresh_worker_in_a_result_replaces_the_process",
    "refresh_worker_in_the_configuration_replaces_the_process_after_each_job",
    "an_idle_worker_ends_and_the_next_job_starts_another",
    "a_queued_job_is_cancelled_before_the_worker_sees_it",
];

/// Cases of `openai_client.py`.
const OPENAI_CLIENT: &[&str] = &[
    "models_are_listed_and_found",
    "a_chat_is_answered",
    "a_message_may_have_parts",
    "a_chat_streams_and_its_last_chunk_has_the_usage",
    "a_chat_streams_to_the_asynchronous_client",
    "stop_and_the_limit_end_an_answer",
    "several_choices_come_in_order",
    "log_probabilities_have_both_forms",
    "completions_are_answered_and_stream",
    "embeddings_are_the_same_in_both_encodings",
    "what_cannot_be_done_is_refused_with_its_field",
    "a_prompt_over_the_context_is_refused_with_both_numbers",
    "an_unknown_model_is_not_found_and_the_others_are_named",
    "a_failure_in_a_stream_is_raised_there",
    "a_full_model_is_503",
    "langchain_chats_streams_and_embeds",
];

/// Cases of `openai_client.cjs`.
const OPENAI_CLIENT_OF_NODE: &[&str] = &[
    "a_chat_is_answered",
    "a_chat_streams_and_its_last_chunk_has_the_usage",
    "embeddings_come_as_numbers",
    "models_are_listed",
    "what_cannot_be_done_is_refused_with_its_field",
    "a_failure_in_a_stream_is_raised_there",
];

/// What a script says of one case.
#[derive(Debug, Deserialize)]
struct Case {
    case: String,
    ok: bool,
    /// The traceback of a case that failed.
    detail: String,
    seconds: f64,
}

fn scripts() -> PathBuf {
    root().join("flash-cli/tests/conformance")
}

/// Runs a script of cases against a platform, and demands that exactly the expected ones are there and held.
fn demand(python: &Path, app: &Running, script: &str, expected: &[&str]) {
    demand_of(Command::new(python).arg("-B"), app, script, expected);
}

/// As [`demand`], of the program that runs the script.
fn demand_of(program: &mut Command, app: &Running, script: &str, expected: &[&str]) {
    let output = program
        .arg(scripts().join(script))
        .current_dir(scripts())
        .env("FLASH_URL", &app.url)
        .env("RUNPOD_ENDPOINT_BASE_URL", format!("{}/v2", app.url))
        .env("no_proxy", "127.0.0.1")
        .envs([WEBHOOK_SECRET])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let mut seen: BTreeMap<String, Case> = stdout
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{script} printed: {line}")))
        .map(|case: Case| (case.case.clone(), case))
        .collect();
    let mut wrong = String::new();
    for name in expected {
        match seen.remove(*name) {
            Some(Case { ok: true, seconds, .. }) => println!("{script}: {name} held ({seconds} s)"),
            Some(Case { detail, .. }) => wrong.push_str(&format!("{name} failed:\n{detail}\n")),
            None => wrong.push_str(&format!("{name} did not run\n")),
        }
    }
    for name in seen.keys() {
        wrong.push_str(&format!("{name} is not in the list of expected cases\n"));
    }
    assert!(wrong.is_empty() && output.status.success(), "{script}:\n{wrong}\n{}\n{stderr}", output.status);
}

#[test]
fn the_official_client_works_against_our_gateway() {
    against_our_workers("sync_client.py", SYNC_CLIENT);
}

#[test]
fn the_official_asynchronous_client_works_against_our_gateway() {
    against_our_workers("async_client.py", ASYNC_CLIENT);
}

#[test]
fn what_other_clients_do_and_demand_works() {
    against_our_workers("other_clients.py", OTHER_CLIENTS);
}

#[test]
fn the_official_openai_client_and_langchain_work_against_our_gateway() {
    against_our_workers("openai_client.py", OPENAI_CLIENT);
}

#[test]
fn the_official_openai_client_of_node_works_against_our_gateway() {
    let Some(modules) = std::env::var_os(NODE_MODULES) else {
        return skip(
            Needs::Node,
            &format!("{NODE_MODULES} does not name modules with the official `openai` package"),
        );
    };
    let app = Running::start(&fixture(), &["--no-reload"]);
    let node = &mut Command::new("node");
    demand_of(node.env("NODE_PATH", modules), &app, "openai_client.cjs", OPENAI_CLIENT_OF_NODE);
}

fn against_our_workers(script: &str, expected: &[&str]) {
    let Some(python) = python() else { return };
    let app = Running::start_with(&fixture(), &["--no-reload"], &[WEBHOOK_SECRET]);
    demand(&python, &app, script, expected);
}

/// A worker type of this name that is the official worker with one of the handlers of `worker.py`.
fn official(python: &Path, name: &str, handler: &str, settings: &str) -> String {
    let script = scripts().join("worker.py");
    format!(
        "[workers.{name}]\ncommand = [{python:?}, \"-uB\", {script:?}]\nenv = {{ HANDLER = \"{handler}\" }}\n\
         workers = \"0..=1\"\nexecution_timeout = 120\n{settings}\n",
    )
}

/// The fixture with these worker types beside its own, running.
fn with_official_workers(python: &Path, name: &str, workers: &[(&str, &str, &str)]) -> (TempDir, Running) {
    let directory = copy_of_fixture(name);
    let workers: Vec<String> =
        workers.iter().map(|(name, handler, settings)| official(python, name, handler, settings)).collect();
    std::fs::write(directory.path().join("flash.toml"), workers.join("\n")).unwrap();
    let target = root().join("target");
    let environment = [("CARGO_TARGET_DIR", target.to_str().unwrap())];
    let app = Running::start_with(directory.path(), &["--no-reload"], &environment);
    (directory, app)
}

const LONG: &str = "idle_timeout = 600";

#[test]
fn results_of_the_official_worker_arrive() {
    let Some(python) = python() else { return };
    let workers = [
        ("captioner", "plain", LONG),
        ("async", "async", LONG),
        ("crashing", "plain", LONG),
        ("undeliverable", "plain", LONG),
    ];
    let (_directory, app) = with_official_workers(&python, "conformance-results", &workers);
    demand(&python, &app, "worker_results.py", WORKER_RESULTS);
}

#[test]
fn generators_of_the_official_worker_stream() {
    let Some(python) = python() else { return };
    let workers = [
        ("generator", "generator", LONG),
        ("async-generator", "async generator", LONG),
        ("aggregate", "aggregate", LONG),
        ("async-aggregate", "async aggregate", LONG),
    ];
    let (_directory, app) = with_official_workers(&python, "conformance-streams", &workers);
    demand(&python, &app, "worker_streams.py", WORKER_STREAMS);
}

#[test]
fn the_official_worker_is_stopped_replaced_and_scaled() {
    let Some(python) = python() else { return };
    let workers = [
        ("async", "async", LONG),
        ("blocked", "plain", LONG),
        ("timed", "async", LONG),
        ("concurrent", "concurrent", LONG),
        ("concurrent-too", "concurrent", LONG),
        ("refreshed", "plain", LONG),
        ("refresh", "refresh", LONG),
        ("idle", "plain", "idle_timeout = 1"),
    ];
    let (_directory, app) = with_official_workers(&python, "conformance-life", &workers);
    demand(&python, &app, "worker_life.py", WORKER_LIFE);
}

#[tokio::test]
async fn lines_of_the_official_worker_carry_their_request() {
    let Some(python) = python() else { return };
    let workers = [("plain", "plain", LONG)];
    let (_directory, app) = with_official_workers(&python, "conformance-lines", &workers);
    let client = Client::new();
    let run = |text: &str| {
        let body = json!({ "input": { "do": "print", "text": text } }).to_string();
        client.raw().post(format!("{}/v2/plain/runsync", app.url)).header("x-request-id", text).body(body)
    };
    let jobs = [client.send(run("first")).await.json(), client.send(run("second")).await.json()];
    for (text, job) in ["first", "second"].into_iter().zip(jobs) {
        assert_eq!((&job["status"], &job["output"]), (&json!("COMPLETED"), &json!("printed")));
        let of = |stream: &str| app.event("log", |line| line["text"] == text && line["stream"] == stream);
        // What the handler prints is plain: it belongs to the one job that runs.
        for stream in ["stdout", "stderr"] {
            assert_eq!(of(stream)["request_id"], text, "{}", of(stream));
        }
        // The worker's own lines name the job.
        let own = |line: &Value| line["request_id"] == text;
        for said in ["Started.", "Finished.", text] {
            let line = app.event("log", |line| line["text"] == said && line["level"] == "INFO" && own(line));
            assert_eq!((&line["worker"], &line["worker_type"]), (&job["workerId"], &json!("plain")));
        }
    }
}

// Two threads: the callers go on while the test waits for an event.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_of_the_official_worker_that_runs_when_flash_ends_is_finished_and_answered() {
    let Some(python) = python() else { return };
    let workers = [("plain", "plain", LONG), ("async", "async", LONG)];
    let (directory, app) = with_official_workers(&python, "conformance-end", &workers);
    let gate = directory.path().join("gate");
    let jobs = ["plain", "async"].map(|worker| {
        let started = directory.path().join(format!("{worker}-started"));
        let input = json!({ "do": "hold", "file": gate, "started": started, "cancelled": gate });
        let (client, url) = (Client::new(), format!("{}/v2/{worker}/runsync", app.url));
        tokio::spawn(async move { client.post(url, json!({ "input": input })).await })
    });
    // The log says when both have begun. They are slow to start where many do.
    for worker in ["plain", "async"] {
        app.event_within("log", PATIENCE, |line| line["text"] == "Started." && line["worker_type"] == worker);
    }
    let left = app.descendants();
    app.signal(Signal::SIGTERM);
    wait_for("the signal to be seen", SOON, || {
        if app.stderr().contains("Stopping") { Ok(()) } else { Err(app.stderr()) }
    });
    std::fs::write(&gate, "").unwrap();
    for job in jobs {
        let answer = job.await.unwrap();
        assert_eq!(answer.json()["output"]["held"], json!(gate), "{answer:?}");
    }
    let status = tokio::task::spawn_blocking(move || app.wait()).await.unwrap();
    assert!(status.success(), "{status}");
    assert!(!left.iter().any(|process| is_alive(*process)), "no worker and no heartbeat is left");
}

#[test]
fn made_up_requests_are_answered_as_the_api_description_says() {
    let app = Running::start(&root().join("flash-cli/tests/zoo"), &["--no-reload"]);
    schemathesis::demand_described_answers(&app, Takes::WhatFits);
}
