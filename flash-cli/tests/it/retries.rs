//! Functions that run again after an error, under `flash run`.
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{
    Running, SOON, fixture,
    kept::{Endpoint, input_for},
};

/// How often the function was run.
fn attempts(file: &std::path::Path) -> usize {
    std::fs::read_to_string(file).unwrap_or_default().lines().count()
}

/// Lines of the log about attempts of this job that another one follows.
fn failed_attempts(app: &Running, job: &str) -> usize {
    app.count("log", |line| {
        let text = line["text"].as_str().unwrap_or_default();
        line["job_id"] == job && text.contains(" failed in ") && text.contains("; the next one follows in ")
    })
}

#[tokio::test]
async fn a_function_runs_again_after_an_error_that_allows_it() {
    let app = Running::start(&fixture(), &["--no-reload"]);
    let directory = TempDir::new().unwrap();
    let retried = Endpoint::of(&app, "retried");
    let file = |name: &str| directory.path().join(name);
    let body = |function: &str, name: &str, failures: usize| {
        input_for(function, json!({ "file": file(name), "failures": failures }))
    };

    let works = retried.run(body("attempt", "works", 2)).await;
    let never = retried.run(body("attempt", "never", 9)).await;
    let end = retried.ended(&works).await;
    assert_eq!(
        (&end["status"], &end["output"], &end["retries"]),
        (&json!("COMPLETED"), &json!(3), &json!(2))
    );
    assert_eq!(attempts(&file("works")), 3);
    assert!(end["costNanoDollars"].as_u64().unwrap() > 0, "{end}");
    assert!(end["nextAttempt"].is_null(), "{end}");
    let end = retried.ended(&never).await;
    assert_eq!((&end["status"], &end["retries"], attempts(&file("never"))), (&json!("FAILED"), &json!(2), 3));
    let error: Value = serde_json::from_str(end["error"].as_str().unwrap()).unwrap();
    assert_eq!(error["error_message"], "the service was busy 3 times", "the last one: {error}");
    assert_eq!(error["flash"]["retryable"], true, "its caller may go on: {error}");
    let last = |job: &str| {
        let job = json!(job);
        app.event_within("log", SOON, move |line| {
            line["job_id"] == job && line["text"].as_str().unwrap_or_default().contains(" in ")
        })
    };
    for job in [&works, &never] {
        last(job);
        assert_eq!(failed_attempts(&app, job), 2, "{}", app.stderr());
    }

    // Without retries of its own, a function runs once, unless its caller asks for more; and the other way round.
    let once = retried.run(body("attempt_once", "once", 1)).await;
    let mut asked = body("attempt_once", "asked", 1);
    asked["input"]["__flash"]["retries"] = json!(1);
    let asked = retried.run(asked).await;
    let mut none = body("attempt", "none", 1);
    none["input"]["__flash"]["retries"] = json!(0);
    let none = retried.run(none).await;
    for (job, name, status, expected) in
        [(once, "once", "FAILED", 1), (asked, "asked", "COMPLETED", 2), (none, "none", "FAILED", 1)]
    {
        let end = retried.ended(&job).await;
        assert_eq!(
            (end["status"].as_str(), attempts(&file(name))),
            (Some(status), expected),
            "{name}: {end}"
        );
    }
}
