//! Jobs that one worker runs together, under `flash run`.
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{Running, SOON, fixture, kept::Endpoint, until};

#[tokio::test]
async fn jobs_that_come_while_a_batch_runs_are_the_next_one_and_fail_alone() {
    let app = Running::start(&fixture(), &["--no-reload"]);
    let directory = TempDir::new().unwrap();
    let gate = directory.path().join("gate");
    let gathered = Endpoint::of(&app, "gathered");
    let item = |until: Value, panics: bool| json!({ "input": { "until": until, "panics": panics } });

    let first = gathered.run(item(json!(gate), false)).await;
    let is_running = async |jobs: &[&String]| {
        until("the jobs to be on a worker", SOON, async || {
            for job in jobs {
                let status = gathered.status(job).await;
                if status["status"] != "IN_PROGRESS" {
                    return Err(status.to_string());
                }
            }
            Ok(())
        })
        .await;
    };
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
