//! Tasks: a fresh worker for each job, gone after it. And the buffer of idle workers.
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{
    Running, SOON, fixture, is_alive,
    kept::{Endpoint, input_for},
    until, wait_for,
};

fn process_of(job: &Value) -> i32 {
    job["output"].as_i64().and_then(|id| i32::try_from(id).ok()).unwrap_or_else(|| panic!("{job}"))
}

fn says_its_process(job: &Value) -> bool {
    job["output"].is_i64()
}

#[tokio::test]
async fn each_job_of_a_task_has_a_worker_of_its_own_which_is_gone_after_it() {
    let app = Running::start(&fixture(), &["--no-reload"]);
    let directory = TempDir::new().unwrap();
    let tasked = Endpoint::of(&app, "tasked");
    let file = |name: &str| directory.path().join(name);
    let mut jobs = Vec::new();
    for name in ["a", "b", "c"] {
        jobs.push(tasked.run(input_for("run_alone", json!({ "file": file(name) }))).await);
    }
    // Two at a time, each at once on its own worker; the third waits for the end of one.
    let first = process_of(&tasked.until(&jobs[0], says_its_process).await);
    let second = process_of(&tasked.until(&jobs[1], says_its_process).await);
    assert_ne!(first, second);
    assert_eq!(tasked.status(&jobs[2]).await["status"], "IN_QUEUE");
    std::fs::write(file("a"), "").unwrap();
    let end = tasked.ended(&jobs[0]).await;
    assert_eq!((&end["status"], process_of(&end)), (&json!("COMPLETED"), first), "{end}");
    let third = process_of(&tasked.until(&jobs[2], says_its_process).await);
    assert!(third != first && third != second, "{first}, {second}, {third}");
    wait_for("the end of the first worker", SOON, || match is_alive(first) {
        true => Err(format!("process {first} is there")),
        false => Ok(()),
    });
    // A cancelled job takes its worker along as well.
    tasked.post(&format!("cancel/{}", jobs[1]), json!({})).await;
    std::fs::write(file("c"), "").unwrap();
    assert_eq!(tasked.ended(&jobs[2]).await["status"], "COMPLETED");
    let health = until("the end of all workers", SOON, async || {
        let health = tasked.get("health").await.json();
        let workers = &health["workers"];
        let left = ["idle", "initializing", "ready", "running"].map(|kind| workers[kind].as_u64().unwrap());
        if left == [0; 4] { Ok(health) } else { Err(health.to_string()) }
    })
    .await;
    assert_eq!(health["workers"]["unhealthy"], 0, "an end after a job is no crash: {health}");
    // So does an attempt that failed: the next one has a fresh worker.
    let again = tasked.run(input_for("run_alone_twice", json!({ "file": file("twice") }))).await;
    let end = tasked.ended(&again).await;
    assert_eq!(end["retries"], 1, "{end}");
    assert_ne!(end["output"][0].as_str().unwrap(), end["output"][1].to_string(), "{end}");
}

#[tokio::test]
async fn a_buffer_of_idle_workers_is_there_while_work_runs_and_no_longer() {
    let app = Running::start(&fixture(), &["--no-reload"]);
    let directory = TempDir::new().unwrap();
    let buffered = Endpoint::of(&app, "buffered");
    let file = directory.path().join("end");
    let job = buffered.run(json!({ "input": { "file": file } })).await;
    let workers = async |what: &str, running: u64, idle: u64| {
        until(what, SOON, async || {
            let health = buffered.get("health").await.json();
            let workers = &health["workers"];
            if workers["running"] == running && workers["idle"] == idle {
                Ok(())
            } else {
                Err(health.to_string())
            }
        })
        .await;
    };
    workers("an idle worker beside the busy one", 1, 1).await;
    std::fs::write(&file, "").unwrap();
    assert_eq!(buffered.ended(&job).await["status"], "COMPLETED");
    workers("the end of both", 0, 0).await;
}
