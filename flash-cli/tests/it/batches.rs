//! Jobs that one worker runs together, under `flash run`.
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

#[tokio::test]
async fn jobs_that_come_while_a_batch_runs_are_the_next_one_and_fail_alone() {
    let app = Running::start(&fixture(), &["--no-reload"]);
    let directory = TempDir::new().unwrap();
    let gate = directory.path().join("gate");
    let gathered = Endpoint::of(&app, "gathered");
    let item = |until: Value, panics: bool| json!({ "input": { "until": until, "panics": panics } });

    let first = gathered.run(item(json!(gate), false)).await;
    let is_running = async |jobs: &[&String]| on_a_worker(&gathered, jobs).await;
    is_running(&[&first]).await;
    let mut others = Vec::new();
    for panics in [false, true, false, false] {
        others.push(gathered.run(item(Value::Null, panics)).await);
    }
    is_running(&others.iter().collect::<Vec<_>>()).await;
    std::fs::write(&gate, "").unwrap();

    assert_eq!(gathered.ended(&first).await["output"], 1, "nobody else was there");
    let mut ends = Vec::new();
    for job in &others {
        ends.push(gathered.ended(job).await);
    }
    for (at, end) in ends.iter().enumerate() {
        match at {
            1 => assert!(end["status"] == "FAILED" && end["error"].to_string().contains("told to"), "{end}"),
            // Of a batch of four, each ran again alone.
            _ => assert_eq!((&end["status"], &end["output"]), (&json!("COMPLETED"), &json!(1)), "{end}"),
        }
    }

    // Nobody panics: they run together.
    std::fs::remove_file(&gate).unwrap();
    let first = gathered.run(item(json!(gate), false)).await;
    is_running(&[&first]).await;
    let mut others = Vec::new();
    for _ in 0..4 {
        others.push(gathered.run(item(Value::Null, false)).await);
    }
    is_running(&others.iter().collect::<Vec<_>>()).await;
    std::fs::write(&gate, "").unwrap();
    for job in &others {
        let end = gathered.ended(job).await;
        assert_eq!(end["output"], 4, "{end}");
    }
}

#[tokio::test]
async fn jobs_of_a_batch_share_its_price_by_their_costs() {
    let app = Running::start(&fixture(), &["--no-reload"]);
    let directory = TempDir::new().unwrap();
    let gates = ["one", "two"].map(|name| directory.path().join(name));
    let gathered = Endpoint::of(&app, "gathered");
    let item =
        |gate: usize, cost: u32| json!({ "input": { "until": gates[gate], "panics": false, "cost": cost } });
    let first = gathered.run(item(0, 1)).await;
    on_a_worker(&gathered, &[&first]).await;
    let (cheap, expensive) = (gathered.run(item(1, 1)).await, gathered.run(item(1, 3)).await);
    on_a_worker(&gathered, &[&cheap, &expensive]).await;
    std::fs::write(&gates[0], "").unwrap();
    gathered.ended(&first).await;

    let cost = |job: &Value| job["costNanoDollars"].as_u64().unwrap_or_else(|| panic!("no cost: {job}"));
    // The longer the batch runs, the less counts the time before it. At the end is a time when only one of them has
    // ended, and the other pays for the worker alone, so the final costs say less.
    until("one to cost over twice as much as the other", SOON, async || {
        let (low, high) = (gathered.status(&cheap).await, gathered.status(&expensive).await);
        (cost(&high) > 2 * cost(&low)).then_some(()).ok_or_else(|| format!("{low} {high}"))
    })
    .await;
    std::fs::write(&gates[1], "").unwrap();
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
