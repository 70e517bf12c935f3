//! `flash schedule` and `flash scale` as their user sees them, with a real service and real workers.
use serde_json::{Value, json};

use crate::support::{SOON, deployed::Deployed, wait_for};

/// A function with a schedule that does not come while a test runs: on the next 29 February.
const NIGHTLY: &str = r#"
/// Tidies up.
#[remote(worker = "greeter", schedule = "0 3 29 2 *", timezone = "Europe/Berlin", missed = once)]
pub async fn nightly(day: Option<String>) -> Result<String> {
    Ok(day.unwrap_or_else(|| "today".to_owned()))
}

/// Runs a script"#;

fn schedule(app: &Deployed) -> Value {
    app.json(&["schedule", "list", "production"])["schedules"][0].clone()
}

fn limits(app: &Deployed) -> (u64, u64) {
    let status = app.json(&["status", "production"]);
    let workers = status["workers"].as_array().unwrap();
    let greeter = workers.iter().find(|worker| worker["name"] == "greeter").unwrap();
    (greeter["workers_min"].as_u64().unwrap(), greeter["workers_max"].as_u64().unwrap())
}

#[test]
fn scheduled_functions_are_listed_run_and_paused_and_limits_are_set_by_hand() {
    let app = Deployed::new("");
    app.edit("\n/// Runs a script", NIGHTLY);
    app.succeeds(&["deploy", "new", "production"]);
    app.send(&[]);

    let listed = schedule(&app);
    assert_eq!(listed["function"], "nightly");
    assert_eq!(
        listed["schedule"],
        json!({ "cron": "0 3 29 2 *", "timezone": "Europe/Berlin", "missed": "once", "overlap": "skip" })
    );
    assert!(listed["next_ms"].as_u64().is_some() && listed["last"].is_null(), "{listed}");
    let job = app.json(&["schedule", "run", "production", "nightly"])["job"].clone();
    wait_for("the end of the run", SOON, || {
        let last = schedule(&app)["last"].clone();
        assert_eq!(last["job"], job);
        if last["ended"] == "COMPLETED" { Ok(()) } else { Err(last.to_string()) }
    });
    app.succeeds(&["schedule", "pause", "production", "nightly"]);
    app.fails(2, &["schedule", "run", "production", "nightli"], &["did you mean `nightly`?"]);

    assert_eq!(limits(&app), (0, 3));
    app.fails(2, &["scale", "production", "greeter", "--min", "4"], &["above the maximum of 3"]);
    app.fails(2, &["scale", "production", "greter", "--max", "4"], &["did you mean `greeter`?"]);
    let scaled = app.json(&["scale", "production", "greeter", "--min", "1", "--max", "5", "--for", "2h"]);
    assert!(scaled["scale"]["until_ms"].as_u64() > scaled["scale"]["set_ms"].as_u64(), "{scaled}");
    assert_eq!(limits(&app), (1, 5));

    // Both outlive the service.
    app.crash_service();
    wait_for("the release and its limits after a crash", SOON, || {
        let status = app.run(&["status", "production", "--json"]);
        if status.code == Some(0) && limits(&app) == (1, 5) { Ok(()) } else { Err(format!("{status:?}")) }
    });
    assert_eq!(schedule(&app)["paused"], true);
    app.succeeds(&["schedule", "resume", "production", "nightly"]);
    assert_eq!(schedule(&app)["paused"], false);

    // The same release again takes the limits back, and says so before.
    let history = app.succeeds(&["deploy", "history", "production"]);
    assert!(history.stdout.contains("greeter is scaled by hand to 1..=5 workers"), "{history:#?}");
    let planned = app.run(&["deploy", "send", "production", "--release-profile", "dev", "--plan"]);
    assert_eq!(planned.code, Some(2), "{planned:#?}");
    assert!(planned.stdout.contains("5 (by flash scale) → 3"), "{planned:#?}");
    app.send(&[]);
    assert_eq!(limits(&app), (0, 3));
    assert_eq!(app.json(&["deploy", "history", "production"])["scales"], json!([]));
}
