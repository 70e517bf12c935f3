//! The pages as axe-core judges them: for people who see no colours, use no mouse, or have a page read to them.
use std::path::Path;

use fantoccini::Client as Browser;
use serde_json::{Value, json};

use super::{call, go, shows, submit};
use crate::support::{
    Client, Running,
    browser::Driver,
    deployed::Deployed,
    fixture,
    skipped::{Needs, skip},
};

/// Names the modules of Node that have axe-core.
const NODE_MODULES: &str = "FLASH_TEST_NODE";

/// The code of axe-core; `None`, and said, where it is not installed.
fn axe_core() -> Option<String> {
    let Some(modules) = std::env::var_os(NODE_MODULES) else {
        skip(Needs::Node, &format!("{NODE_MODULES} does not name modules with `axe-core`"));
        return None;
    };
    Some(std::fs::read_to_string(Path::new(&modules).join("axe-core/axe.min.js")).unwrap())
}

/// What axe-core finds on the page that the browser shows: what people cannot use, and what is hard for them.
async fn found(browser: &Browser, axe: &str) -> Vec<String> {
    let script = format!(
        "{axe}\nreturn axe.run(document, {{ resultTypes: ['violations'] }}).then((found) => found.violations \
         .filter((own) => ['serious', 'critical'].includes(own.impact)) \
         .map((own) => [own.id, own.help, ...own.nodes.map((node) => node.html + ' ' + node.failureSummary)].join(' | ')))"
    );
    let found = browser.execute(&script, Vec::new()).await.unwrap();
    serde_json::from_value(found).unwrap()
}

#[tokio::test]
async fn axe_finds_nothing_serious_on_any_page_in_light_and_in_dark() {
    let Some(axe) = axe_core() else { return };
    let (app, client, driver) =
        (Running::start(&fixture(), &["--no-reload"]), Client::new(), Driver::start());
    let locked = Running::start_with(&fixture(), &["--no-reload"], &[("FLASH_API_KEY", "key-of-this-test")]);
    let greeting = json!({ "name": "ada", "times": 1 });
    assert_eq!(call(&client, &app, "jobs/greet", "greets", greeting).await, 200);
    let of_route = client.raw().post(format!("{}/greet", app.url)).header("x-request-id", "goes-over");
    assert_eq!(client.send(of_route.json(&json!({ "name": "bo" }))).await.status, 200);
    let job = |function: &str, input: Value| {
        let mut input = input;
        input["__flash"] = json!({ "function": function });
        json!({ "input": input })
    };
    submit(&client, &app, "trouble", "fails", job("fail", json!({ "message": "it broke" }))).await;
    submit(&client, &app, "holder", "holds", job("hold", json!({ "seconds": 600.0 }))).await;
    submit(&client, &app, "crasher", "kills", json!({ "input": { "words": "my last words" } })).await;

    let browser = driver.browser().await;
    go(&browser, &app.url, "/_flash/failed").await;
    shows(&browser, "section[aria-labelledby=dead]", "my last words").await;
    go(&browser, &app.url, "/_flash/requests/holds").await;
    shows(&browser, "#summary .state", "running").await;
    let pages = [
        "/_flash/",
        "/_flash/requests",
        "/_flash/requests?id=nothing-fits",
        "/_flash/requests/goes-over",
        "/_flash/requests/fails",
        "/_flash/requests/holds",
        "/_flash/requests/never-was",
        "/_flash/workers",
        "/_flash/logs",
        "/_flash/costs",
        "/_flash/failed",
        "/_flash/schedules",
        "/_flash/models",
    ];
    let pages = pages.map(|path| (app.url.as_str(), path));
    let pages: Vec<_> = pages.into_iter().chain([(locked.url.as_str(), "/_flash/login")]).collect();
    assert_eq!(found_on(&driver, &client, &browser, &axe, &pages).await, Vec::<String>::new());
    browser.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn axe_finds_nothing_serious_on_the_pages_of_releases() {
    let Some(axe) = axe_core() else { return };
    let (app, client, driver) = (Deployed::live(""), Client::new(), Driver::start());
    app.version("one", "two");
    app.send(&["--release-notes", "the second"]);
    let browser = driver.browser().await;
    browser.goto(app.succeeds(&["dashboard", "production", "--print"]).stdout.trim()).await.unwrap();
    shows(&browser, "#navigation", "Releases").await;
    let url = app.url();
    go(&browser, &url, "/_flash/releases").await;
    shows(&browser, "#release-2 .state", "live").await;
    let pages = [(url.as_str(), "/_flash/releases"), (&url, "/_flash/releases/1")];
    assert_eq!(found_on(&driver, &client, &browser, &axe, &pages).await, Vec::<String>::new());
    browser.close().await.unwrap();
}

/// What axe-core finds on these pages: wide in light, narrow in dark.
async fn found_on(
    driver: &Driver,
    client: &Client,
    browser: &Browser,
    axe: &str,
    pages: &[(&str, &str)],
) -> Vec<String> {
    let mut all = Vec::new();
    for (scheme, width) in [("light", 1280), ("dark", 320)] {
        driver.narrow(client, browser, width).await;
        driver.prefer(client, browser, scheme).await;
        for (url, path) in pages {
            go(browser, url, path).await;
            shows(browser, "main h1", "").await;
            let found = found(browser, axe).await;
            all.extend(found.into_iter().map(|own| format!("{path}, {scheme}: {own}")));
        }
    }
    all
}
