//! The dashboard of an environment: what it keeps of earlier days, and what its settings hide.
use fantoccini::Client as Browser;
use serde_json::{Value, json};

use super::{go, shows};
use crate::support::{Client, SOON, browser::Driver, deployed::Deployed, until};

/// A setting of `flash.toml`.
const HIDDEN: &str = "[dashboard]\nvalues = \"hidden\"\n";

/// Calls a function whose output is `secret-output`, as the request with this ID.
async fn call(app: &Deployed, client: &Client, url: &str, id: &str) {
    let request = client.raw().post(format!("{url}/v2/greeter/runsync")).bearer_auth(app.key());
    let body =
        json!({ "input": { "__flash": { "function": "script" }, "script": "printf secret-%s output" } });
    let answer = client.send(request.header("x-request-id", id).json(&body)).await;
    assert_eq!(answer.json()["output"], "secret-output", "{answer:?}");
}

/// What a request's page says.
async fn page(browser: &Browser, url: &str, id: &str) -> String {
    go(browser, url, &format!("/_flash/requests/{id}")).await;
    shows(browser, "#summary .state", "completed").await;
    let text = browser.execute("return document.body.innerText", Vec::new()).await.unwrap();
    text.as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_environment_shows_days_and_what_workers_take_and_hides_values_when_told() {
    let (app, client, driver) = (Deployed::live(HIDDEN), Client::new(), Driver::start());
    let url = app.url();
    call(&app, &client, &url, "hides").await;
    let usage = until("what the worker takes", SOON, async || {
        let status = app.json(&["status", "production"]);
        let workers = status["workers"].as_array().unwrap();
        let found = workers.iter().find(|own| own["name"] == "greeter").map(|own| own["usage"][0].clone());
        found.filter(Value::is_object).ok_or_else(|| status.to_string())
    })
    .await;
    assert!(usage["worker"].as_str().unwrap().starts_with("greeter-"), "{usage}");
    assert!(usage["memory_bytes"].as_u64().unwrap() > 100_000, "{usage}");
    let printed = app.succeeds(&["status", "production"]).stdout;
    assert!(printed.contains(&format!("{}: ", usage["worker"].as_str().unwrap())), "{printed}");
    assert!(printed.contains(" cores, ") && printed.contains(" MB\n"), "{printed}");

    let browser = driver.browser().await;
    let printed = app.succeeds(&["dashboard", "production", "--print"]);
    browser.goto(printed.stdout.trim()).await.unwrap();
    shows(&browser, "#identity", "production").await;
    let hidden = page(&browser, &url, "hides").await;
    assert!(
        hidden.contains("Inputs and outputs are hidden here.") && !hidden.contains("secret-output"),
        "{hidden}"
    );
    go(&browser, &url, "/_flash/costs").await;
    shows(&browser, "#all h2", "By day").await;
    shows(&browser, "[aria-label='Costs by day'] td", "greeter $").await;

    // The next release may show them; the platform stays the same.
    std::fs::write(app.path().join("flash.toml"), "").unwrap();
    let sent = app.send(&[]);
    assert!(
        sent.stdout.contains("dashboard.values") || sent.stderr.contains("dashboard.values"),
        "{sent:#?}"
    );
    call(&app, &client, &url, "shows").await;
    let shown = page(&browser, &url, "shows").await;
    assert!(shown.contains("secret-output"), "{shown}");
    browser.close().await.unwrap();
}
