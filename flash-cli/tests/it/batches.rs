//! Jobs that one worker runs together, under `flash run`.
use std::path::Path;

use futures_util::future::join_all;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{Running, SOON, fixture, kept::Endpoint, until};

/// Waits until a worker has all of these jobs.
async fn on_a_worker(endpoint: &Endpoint, jobs: &[&String]) {
    until("the jobs to be on a worker", SOON, async || {
        for job in jobs {
            let status = endpoint.status(job).await;
            if status["status"] != "IN_PROGRESS" {
                return Err(status.to_string());
            }
        }
        Ok(())
    })
    .await;
}

/// Waits until a batch begins that writes to this file. Returns how many items it has.
async fn begun(file: &Path) -> String {
    let read = async || std::fs::read_to_string(file).map_err(|error| error.to_string());
    until("the batch to begin", SOON, read).await
}

/// Rounds in which jobs may come too late for the batch that they are meant for: that a worker has a job is seen a moment
/// before the job is in its line.
const ROUNDS: usize = 20;

/// Sends jobs while a batch of one runs, and lets that batch end when they are on the worker. Returns how they ended.
async fn gather(gathered: &Endpoint, panics: &[bool]) -> Vec<Value> {
    let directory = TempDir::new().unwrap();
    let (gate, begins) = (directory.path().join("gate"), directory.path().join("begins"));
    let item = |until: Value, panics: bool| json!({ "input": { "until": until, "panics": panics } });
    let first = json!({ "input": { "until": gate, "begins": begins, "panics": false } });
    let first = gathered.run(first).await;
    // A worker takes the jobs that come together in any order.
    begun(&begins).await;
    let mut others = Vec::new();
    for panics in panics {
        others.push(gathered.run(item(Value::Null, *panics)).await);
    }
    on_a_worker(gathered, &others.iter().collect::<Vec<_>>()).await;
    std::fs::write(&gate, "").unwrap();
    assert_eq!(gathered.ended(&first).await["output"], 1, "nobody else was there");
    let mut ends = Vec::new();
    for job in &others {
        ends.push(gathered.ended(job).await);
    }
    ends
}

#[tokio::test]
async fn jobs_that_come_while_a_batch_runs_are_the_next_one_and_fail_alone() {
    let app = Running::start(&fixture(), &["--no-reload"]);
    let gathered = Endpoint::of(&app, "gathered");
    let outputs = |ends: &[Value]| ends.iter().map(|end| end["output"].clone()).collect::<Vec<_>>();
    let mut seen = Vec::new();
    let all_again_alone = async {
        for _ in 0..ROUNDS {
            let mut ends = gather(&gathered, &[false, true, false, false]).await;
            let failed = ends.remove(1);
            let error = failed["error"].to_string();
            assert!(failed["status"] == "FAILED" && error.contains("told to"), "{failed}");
            assert!(ends.iter().all(|end| end["status"] == "COMPLETED"), "{ends:?}");
            // Of a batch of four, each ran again alone.
            if outputs(&ends) == [1, 1, 1] {
                return;
            }
            seen.push(outputs(&ends));
        }
        panic!("no batch ran again one by one: {seen:?}");
    };
    all_again_alone.await;
    // Nobody panics: they run together.
    let mut seen = Vec::new();
    for _ in 0..ROUNDS {
        seen.push(outputs(&gather(&gathered, &[false; 4]).await));
        if seen.last().is_some_and(|outputs| outputs == &[4, 4, 4, 4]) {
            return;
        }
    }
    panic!("four never ran together: {seen:?}");
}

/// Has two jobs, of costs 1 and 3, run in one batch until the file `two` is in the directory; `None` if they came too late
/// for one.
async fn pair(gathered: &Endpoint) -> Option<(TempDir, String, String)> {
    let directory = TempDir::new().unwrap();
    let file = |name: &str| directory.path().join(name);
    let item = |gate: &str, begins: &str, cost: u32| {
        let (until, begins) = (file(gate), file(begins));
        json!({ "input": { "until": until, "begins": begins, "panics": false, "cost": cost } })
    };
    let first = gathered.run(item("one", "first", 1)).await;
    assert_eq!(begun(&file("first")).await, "1");
    let cheap = gathered.run(item("two", "cheap", 1)).await;
    let expensive = gathered.run(item("two", "expensive", 3)).await;
    on_a_worker(gathered, &[&cheap, &expensive]).await;
    std::fs::write(file("one"), "").unwrap();
    gathered.ended(&first).await;
    let next = async || {
        let sizes = ["cheap", "expensive"].map(|name| std::fs::read_to_string(file(name)));
        sizes.into_iter().find_map(Result::ok).ok_or_else(|| "neither has begun".to_owned())
    };
    if until("the next batch to begin", SOON, next).await == "2" {
        return Some((directory, cheap, expensive));
    }
    std::fs::write(file("two"), "").unwrap();
    for late in [&cheap, &expensive] {
        gathered.ended(late).await;
    }
    None
}

#[tokio::test]
async fn jobs_of_a_batch_share_its_price_by_their_costs() {
    let app = Running::start(&fixture(), &["--no-reload"]);
    let gathered = Endpoint::of(&app, "gathered");
    let mut together = None;
    for _ in 0..ROUNDS {
        together = pair(&gathered).await;
        if together.is_some() {
            break;
        }
    }
    let (directory, cheap, expensive) = together.expect("two of them run together");

    let cost = |job: &Value| job["costNanoDollars"].as_u64().unwrap_or_else(|| panic!("no cost: {job}"));
    // The longer the batch runs, the less counts the time before it. At the end is a time when only one of them has
    // ended, and the other pays for the worker alone, so the final costs say less.
    until("one to cost over twice as much as the other", SOON, async || {
        let (low, high) = (gathered.status(&cheap).await, gathered.status(&expensive).await);
        (cost(&high) > 2 * cost(&low)).then_some(()).ok_or_else(|| format!("{low} {high}"))
    })
    .await;
    std::fs::write(directory.path().join("two"), "").unwrap();
    let (low, high) = (gathered.ended(&cheap).await, gathered.ended(&expensive).await);
    assert_eq!((&low["output"], &high["output"]), (&json!(2), &json!(2)), "they ran together");
    app.event("log", |line| line.to_string().contains("in a batch of 2 (cost 3 of 4)"));
}

#[tokio::test]
async fn one_item_of_two_hundred_that_ends_the_process_fails_alone() {
    const POISON: usize = 130;
    let app = Running::start(&fixture(), &["--no-reload"]);
    let gathered = Endpoint::of(&app, "gathered");
    let submit = async |at: usize| {
        gathered.run(json!({ "input": { "until": null, "panics": false, "aborts": at == POISON } })).await
    };
    let jobs = join_all((0..200).map(submit)).await;
    let mut others_again = 0;
    for (at, job) in jobs.iter().enumerate() {
        let end = gathered.ended(job).await;
        let status = if at == POISON { "FAILED" } else { "COMPLETED" };
        assert_eq!(end["status"], status, "{at}: {end}");
        others_again += usize::from(at != POISON && end["retries"].as_u64() > Some(0));
    }
    // A worker has up to eight, and the second time it has the one alone.
    assert!(others_again < 8, "{others_again}");
}
