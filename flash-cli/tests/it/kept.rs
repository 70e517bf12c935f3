//! `flash run --keep`: what of a job outlives its platform, and what happens when jobs cannot be kept.

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::support::{
    self, PATIENCE,
    kept::{Endpoint, Kept, WEBHOOK_SECRET, id_of, is_final, kill},
    receiver::Receiver,
    skipped::{Needs, skip},
    small_disk::SmallDisk,
    until,
};

fn pass(number: u64) -> Value {
    json!({ "input": { "number": number } })
}

fn assert_completed(end: &Value, number: u64) {
    assert_eq!((&end["status"], &end["output"]), (&json!("COMPLETED"), &json!(number)), "{end}");
}

/// A platform that is killed, and the next one.
async fn survives(kept: &Kept, keep: &str) {
    let app = kept.start_with(keep);
    let (relay, barred) = (Endpoint::of(&app, "relay"), Endpoint::of(&app, "barred"));
    let relayed = |number: u64| json!({ "input": { "number": number, "milliseconds": 0 } });
    let finished = relay.run(relayed(1)).await;
    assert_completed(&relay.ended(&finished).await, 1);
    let cancelled = barred.run(pass(2)).await;
    barred.post(&format!("cancel/{cancelled}"), json!({})).await;
    // Only promised, on workers that do not start; the last answer is a moment old.
    let mut waiting = Vec::new();
    for number in 3..20 {
        waiting.push((number, id_of(&barred.run_with_key(&format!("key-{number}"), &pass(number)).await)));
    }
    // Its caller stopped waiting: from then on it is kept as well.
    let left = barred.post("runsync?wait=1000", pass(20)).await;
    waiting.push((20, id_of(&left)));
    assert_eq!(left.json()["status"], "IN_QUEUE", "{left:?}");
    kill(app);

    let app = kept.start_with(keep);
    let (relay, barred) = (Endpoint::of(&app, "relay"), Endpoint::of(&app, "barred"));
    assert_completed(&relay.status(&finished).await, 1);
    assert_eq!(barred.status(&cancelled).await["status"], "CANCELLED");
    let listed: Vec<Value> =
        barred.listed("status=IN_QUEUE&limit=5").await.iter().map(|job| job["id"].clone()).collect();
    let promised: Vec<Value> = waiting.iter().rev().map(|(_, id)| json!(id)).collect();
    assert_eq!(listed, promised, "all of them, in their order");
    let again = barred.run_with_key("key-3", &pass(3)).await;
    assert_eq!((id_of(&again).as_str(), again.header("idempotent-replayed")), (&*waiting[0].1, "true"));
    let other = barred.run_with_key("key-3", &pass(4)).await;
    assert_eq!(other.status, 409, "{other:?}");
    std::fs::write(kept.gate(), "").unwrap();
    for (number, job) in &waiting {
        assert_completed(&barred.ended(job).await, *number);
    }
    assert_eq!(barred.status(&cancelled).await["status"], "CANCELLED");
    // A clean end keeps as much as a hard one.
    app.signal(Signal::SIGTERM);
    app.wait();
    let app = kept.start_with(keep);
    assert_completed(&Endpoint::of(&app, "barred").status(&waiting[5].1).await, 8);
}

#[tokio::test]
async fn a_promised_job_survives_the_death_of_the_platform() {
    survives(&Kept::new("kept-jobs", ""), "--keep").await;
}

#[tokio::test]
async fn a_promised_job_survives_with_power_loss_in_mind() {
    survives(&Kept::new("kept-on-disk", ""), "--keep=power-loss").await;
}

#[tokio::test]
async fn a_webhook_that_was_not_told_is_told_by_the_next_platform() {
    let kept = Kept::new("kept-webhooks", "");
    let app = kept.start();
    let receiver = Receiver::refusing().await;
    let job = json!({ "input": { "number": 7, "milliseconds": 0 }, "webhook": receiver.url });
    let id = Endpoint::of(&app, "relay").run(job).await;
    receiver.received(1).await;
    kill(app);
    let before = receiver.deliveries().len();
    receiver.accept();
    let app = kept.start();
    let deliveries = receiver.received(before + 1).await;
    let told = deliveries.last().unwrap();
    assert!(told.is_signed_with(WEBHOOK_SECRET), "{told:?}");
    assert_eq!(told.header("webhook-id"), deliveries[0].header("webhook-id"), "the same end, the same id");
    let body = told.json();
    assert_eq!((&body["id"], &body["status"], &body["output"]), (&json!(id), &json!("COMPLETED"), &json!(7)));
    assert_eq!(body["webhook"], receiver.url);
    // A clean end lets what was told be written down: it is not told again.
    app.signal(Signal::SIGTERM);
    app.wait();
    let app = kept.start();
    let relay = Endpoint::of(&app, "relay");
    let next =
        relay.run(json!({ "input": { "number": 8, "milliseconds": 0 }, "webhook": receiver.url })).await;
    let deliveries = receiver.received(before + 2).await;
    assert_eq!(deliveries.last().unwrap().json()["id"], next);
}

#[tokio::test]
async fn a_second_platform_on_the_same_jobs_is_refused() {
    let kept = Kept::new("kept-by-two", "");
    let app = kept.start();
    let job = Endpoint::of(&app, "barred").run(pass(1)).await;
    let second = second_run(&kept);
    assert_eq!(second.0, Some(1), "{}", second.1);
    for part in ["jobs.sqlite is in use by another process", "hint: another `flash run --keep`"] {
        assert!(second.1.contains(part), "no {part}: {}", second.1);
    }
    // The first one has not noticed.
    std::fs::write(kept.gate(), "").unwrap();
    assert_completed(&Endpoint::of(&app, "barred").ended(&job).await, 1);
}

/// A start that does not come to serve: its code and what it said.
fn second_run(kept: &Kept) -> (Option<i32>, String) {
    let target = support::root().join("target");
    let directory = kept.path().to_str().unwrap();
    let mut command = support::flash(&["run", directory, "--keep", "--no-reload", "--port", "0"]);
    let output = command.env("CARGO_TARGET_DIR", target).output().unwrap();
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[tokio::test]
async fn a_damaged_file_is_refused_and_left_as_it_is() {
    let kept = Kept::new("kept-badly", "");
    let app = kept.start();
    let barred = Endpoint::of(&app, "barred");
    for number in 0..100 {
        barred.run(pass(number)).await;
    }
    // After a clean end all is in one file.
    app.signal(Signal::SIGTERM);
    app.wait();
    let file = kept.state().join("jobs.sqlite");
    let whole = std::fs::read(&file).unwrap();
    let middle = whole.len() / 2;
    let mut damages: Vec<Vec<u8>> = vec![b"not a database, but long enough to be looked at".repeat(200)];
    // The header, the schema, and pages in the middle.
    for place in [0, 100, middle] {
        let mut damaged = whole.clone();
        damaged[place..place + 2000].fill(0xa5);
        damages.push(damaged);
    }
    damages.push(whole[..middle].to_vec());
    for damaged in damages {
        std::fs::write(&file, &damaged).unwrap();
        let (code, said) = second_run(&kept);
        assert_eq!(code, Some(1), "{said}");
        assert!(said.contains("jobs.sqlite") && said.contains("hint: move the file away"), "{said}");
        assert!(!said.contains("panicked"), "{said}");
        assert_eq!(std::fs::read(&file).unwrap(), damaged, "it may still be repaired");
    }
    std::fs::write(&file, &whole).unwrap();
    let app = kept.start();
    assert_eq!(Endpoint::of(&app, "barred").listed("status=IN_QUEUE").await.len(), 100);
}

#[tokio::test]
async fn one_damaged_job_is_set_aside_and_the_others_go_on() {
    let kept = Kept::new("kept-but-for-one", "");
    let app = kept.start();
    let barred = Endpoint::of(&app, "barred");
    let mut jobs = Vec::new();
    for number in 0..3 {
        jobs.push(barred.run(pass(number)).await);
    }
    app.signal(Signal::SIGTERM);
    app.wait();
    let file = rusqlite::Connection::open(kept.state().join("jobs.sqlite")).unwrap();
    file.execute("UPDATE job SET input = '{\"number\":' WHERE seq = 2", []).unwrap();
    drop(file);
    std::fs::write(kept.gate(), "").unwrap();
    let app = kept.start();
    app.event("log", |line| line["text"].as_str().unwrap().starts_with("stored job 2 is damaged"));
    let barred = Endpoint::of(&app, "barred");
    for number in [0, 2] {
        assert_completed(&barred.ended(&jobs[number]).await, number as u64);
    }
    assert_eq!(barred.get(&format!("status/{}", jobs[1])).await.status, 404);
}

#[tokio::test]
async fn a_job_that_the_platform_dies_of_is_dead_in_the_end() {
    let kept = Kept::new("kept-and-deadly", "");
    let mut app = kept.start();
    let relayed = |number: u64, milliseconds: u64| json!({ "input": { "number": number, "milliseconds": milliseconds } });
    let deadly = Endpoint::of(&app, "relay").run(relayed(1, 600_000)).await;
    for _ in 0..6 {
        let relay = Endpoint::of(&app, "relay");
        let running = relay.until(&deadly, |job| job["status"] == "IN_PROGRESS" || is_final(job)).await;
        assert_eq!(running["status"], "IN_PROGRESS", "{running}");
        kill(app);
        app = kept.start();
    }
    let relay = Endpoint::of(&app, "relay");
    let end = relay.ended(&deadly).await;
    assert_eq!(end["status"], "FAILED");
    assert!(end["error"].as_str().unwrap().contains("the platform died 5 times while this job"), "{end}");
    assert_eq!(relay.dead().await[0]["id"], json!(deadly));
    // Nothing else is held up.
    let next = relay.run(relayed(2, 0)).await;
    assert_completed(&relay.ended(&next).await, 2);
}

#[tokio::test]
async fn a_full_disk_refuses_new_jobs_and_loses_none() {
    let kept = Kept::new("kept-on-a-full-disk", "");
    let state = kept.state();
    let Some(disk) = SmallDisk::mount(&state, 6) else {
        skip(Needs::Mounts, "no file system can be mounted here");
        return;
    };
    let app = kept.start();
    let barred = Endpoint::of(&app, "barred");
    let big = |number: u64| json!({ "input": { "number": number, "padding": "x".repeat(100_000) } });
    let mut promised = Vec::new();
    let refused = loop {
        let number = promised.len() as u64;
        let answer = barred.run_with_key(&format!("key-{number}"), &big(number)).await;
        if answer.status != 200 {
            break answer;
        }
        promised.push(id_of(&answer));
        assert!(promised.len() < 1000, "6 MB never fill up");
    };
    assert_eq!((refused.status, refused.header("retry-after")), (503, "1"), "{refused:?}");
    assert!(
        refused.json()["error"].as_str().unwrap().contains("could not write to the job store"),
        "{refused:?}"
    );
    assert!(promised.len() > 10, "{}", promised.len());
    // What was promised is still to be seen, also for the next platform on the full disk.
    assert_eq!(barred.status(&promised[0]).await["status"], "IN_QUEUE");
    kill(app);
    let app = kept.start();
    let barred = Endpoint::of(&app, "barred");
    let number = promised.len() as u64;
    let key = format!("key-{number}");
    for _ in 0..3 {
        let refused = barred.run_with_key(&key, &big(number)).await;
        assert_eq!(refused.status, 503, "{refused:?}");
    }
    disk.grow(64);
    let accepted = until("a job that is accepted", PATIENCE, async || {
        let answer = barred.run_with_key(&key, &big(number)).await;
        if answer.status == 200 { Ok(answer) } else { Err(answer.text) }
    })
    .await;
    promised.push(id_of(&accepted));
    std::fs::write(kept.gate(), "").unwrap();
    for (number, job) in promised.iter().enumerate() {
        assert_completed(&barred.ended(job).await, number as u64);
    }
    let listed = barred.listed("limit=1000").await;
    assert_eq!(listed.len(), promised.len(), "what was refused is not there");
    assert!(listed.iter().all(is_final));
    drop(app);
}
