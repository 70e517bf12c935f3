//! The releases of an environment: what each changed, and the way back to one.
use fantoccini::{Client as Browser, Locator};
use serde_json::json;

use super::{go, press, shows};
use crate::support::{Client, Running, browser::Driver, deployed::Deployed, fixture};

/// Sends a form as the page that the browser shows would.
async fn post(browser: &Browser, path: &str, form: &str) -> u64 {
    let script = "const [path, body, done] = arguments; \
                  fetch(path, { method: 'POST', body, headers: { 'content-type': 'application/x-www-form-urlencoded' } }) \
                    .then((answer) => done(answer.status))";
    let status = browser.execute_async(script, vec![json!(path), json!(form)]).await.unwrap();
    status.as_u64().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn releases_are_shown_with_what_they_changed_and_rolled_back_to_after_the_plan_was_confirmed() {
    let (app, client, driver) = (Deployed::live(""), Client::new(), Driver::start());
    app.version("one", "two");
    app.edit("pub async fn greet(name: String)", "pub async fn greet(name: String, title: Option<String>)");
    app.edit("greet(name).await", "greet(name, None).await");
    app.edit("greet(\"main\".to_owned()).await?", "greet(\"main\".to_owned(), None).await?");
    app.edit("\"hello, {name}\"", "\"hello, {title:?} {name}\"");
    app.send(&["--release-notes", "with <b>titles</b>"]);

    let browser = driver.browser().await;
    let printed = app.succeeds(&["dashboard", "production", "--print"]);
    browser.goto(printed.stdout.trim()).await.unwrap();
    shows(&browser, "#navigation", "Releases").await;
    let url = app.url();
    go(&browser, &url, "/_flash/releases").await;
    shows(&browser, "#release-2 .state", "live").await;
    shows(&browser, "#release-2 .note", "with <b>titles</b>").await;
    shows(&browser, "#release-2 summary", "since release 1").await;
    press(&browser, "#release-2 summary").await;
    shows(&browser, "#release-2 .plan", "input.title").await;
    shows(&browser, "#release-1 summary", ": the first release").await;
    assert!(browser.find(Locator::Css("#release-2 a.button")).await.is_err(), "it is live");

    // The plan is that of the command, and the browser may not agree to what it does not show.
    press(&browser, "#release-1 a.button").await;
    shows(&browser, "main h1", "Roll back to release 1").await;
    let planned = app.run(&["deploy", "rollback", "production", "1"]);
    assert!(planned.stdout.contains("input.title"), "{planned:#?}");
    shows(&browser, ".plan", "input.title").await;
    shows(&browser, "section.problem", "input.title").await;
    assert_eq!(post(&browser, "/_flash/rollback/1", "base=2").await, 409, "callers would break");
    assert_eq!(post(&browser, "/_flash/rollback/1", "base=1&allow_breaking=true").await, 409, "2 is live");
    assert_eq!(
        post(&browser, "/_flash/rollback/7", "base=2&allow_breaking=true").await,
        409,
        "there is none"
    );
    let foreign = client.raw().post(format!("{url}/_flash/rollback/1")).bearer_auth(app.key());
    let foreign = client.send(foreign.header("sec-fetch-site", "cross-site").body("base=2")).await;
    assert_eq!(foreign.status, 403, "{foreign:?}");
    assert_eq!(app.json(&["deploy", "info", "production"])["environment"]["live"]["number"], 2);

    press(&browser, "input[name=allow_breaking]").await;
    press(&browser, "form[action='/_flash/rollback/1'] button").await;
    shows(&browser, "#release-3 .state", "live").await;
    shows(&browser, "#release-3 .note", "Rollback to release 1").await;
    shows(&browser, "#release-2 .state", "replaced").await;
    let history = app.json(&["deploy", "history", "production"]);
    assert_eq!(history["releases"][0]["rollback_of"], 1, "{history}");
    assert_eq!(history["releases"][0]["state"]["state"], "live", "{history}");
    browser.close().await.unwrap();
}

#[tokio::test]
async fn flash_run_has_no_releases() {
    let (app, client, driver) =
        (Running::start(&fixture(), &["--no-reload"]), Client::new(), Driver::start());
    let browser = driver.browser().await;
    go(&browser, &app.url, "/_flash/").await;
    shows(&browser, "#navigation", "Workers").await;
    assert!(browser.find(Locator::Css("#navigation a[href='/_flash/releases']")).await.is_err());
    for path in ["/_flash/releases", "/_flash/releases/1"] {
        assert_eq!(client.get(format!("{}{path}", app.url)).await.status, 404, "{path}");
    }
    browser.close().await.unwrap();
}
