//! The dashboard in a real browser, with real traffic: each page, what its buttons do, who may see it.
mod accessibility;
mod environment;
mod many_requests;
mod quiet;
mod releases;

use fantoccini::{Client as Browser, Locator};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::{Value, json};

use crate::support::{Client, Running, SOON, browser::Driver, deployed::Deployed, fixture, until};

/// What would be a part of the page if it was not escaped.
const MARKUP: &str = "<b id=\"injected\">ada</b><script>document.title = 'owned'</script>";

/// Waits for text on the page.
async fn shows(browser: &Browser, css: &str, text: &str) {
    until(&format!("`{css}` to show `{text}`"), SOON, async || {
        // At one moment: parts of the page are replaced again and again.
        let script = "return [...document.querySelectorAll(arguments[0])].map((own) => own.innerText)";
        let seen = browser.execute(script, vec![json!(css)]).await.map_err(|error| error.to_string())?;
        let seen: Vec<String> = serde_json::from_value(seen).unwrap();
        if seen.iter().any(|own| own.contains(text)) { Ok(()) } else { Err(format!("{seen:#?}")) }
    })
    .await;
}

/// Waits for an element, and presses it.
async fn press(browser: &Browser, css: &str) {
    until(&format!("`{css}` to be pressed"), SOON, async || {
        let found = browser.find(Locator::Css(css)).await.map_err(|error| error.to_string())?;
        found.click().await.map_err(|error| error.to_string())
    })
    .await;
}

async fn go(browser: &Browser, url: &str, path: &str) {
    browser.goto(&format!("{url}{path}")).await.unwrap();
}

/// The path that the browser is at, once it is another one than `before`.
async fn led_away_from(browser: &Browser, before: &str) -> String {
    until("the browser to be led elsewhere", SOON, async || {
        let path = browser.current_url().await.map_err(|error| error.to_string())?.path().to_owned();
        if path == before { Err(path) } else { Ok(path) }
    })
    .await
}

/// Calls a function, as the request with this ID.
async fn call(client: &Client, app: &Running, function: &str, id: &str, input: Value) -> u16 {
    let request = client.raw().post(format!("{}/{function}/run_sync", app.url)).header("x-request-id", id);
    client.send(request.json(&input)).await.status
}

/// Submits a job, as the request with this ID.
async fn submit(client: &Client, app: &Running, worker: &str, id: &str, body: Value) -> String {
    let request = client.raw().post(format!("{}/v2/{worker}/run", app.url)).header("x-request-id", id);
    client.send(request.json(&body)).await.json()["id"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn each_page_shows_what_happened_and_the_console_stays_empty() {
    let (app, client, driver) =
        (Running::start(&fixture(), &["--no-reload"]), Client::new(), Driver::start());
    let greeting = json!({ "name": MARKUP, "times": 1 });
    assert_eq!(call(&client, &app, "jobs/greet", "greets", greeting).await, 200);
    let of_route = client.raw().post(format!("{}/greet", app.url)).header("x-request-id", "goes-over");
    assert_eq!(client.send(of_route.json(&json!({ "name": "bo" }))).await.status, 200);
    let failing = json!({ "input": { "__flash": { "function": "fail" }, "message": "it <i>broke</i>" } });
    submit(&client, &app, "trouble", "fails", failing).await;

    let browser = driver.browser().await;
    // A browser that asks for the root is led to the dashboard.
    go(&browser, &app.url, "/").await;
    assert_eq!(browser.current_url().await.unwrap().path(), "/_flash/");
    shows(&browser, "#workers th[scope=row]", "greeter").await;
    shows(&browser, "#identity", "fixture-app").await;
    shows(&browser, "#problems", "it <i>broke</i>").await;
    // Curves are there once there are two samples.
    let later = until("curves", SOON, async || {
        browser.refresh().await.map_err(|error| error.to_string())?;
        let found = browser.find_all(Locator::Css(".u-legend")).await.map_err(|error| error.to_string())?;
        if found.is_empty() { Err("none".to_owned()) } else { Ok(found.len()) }
    });
    assert_eq!(later.await, 4);

    go(&browser, &app.url, "/_flash/requests").await;
    shows(&browser, "#list td", "POST /greet").await;
    browser.find(Locator::LinkText("greets")).await.unwrap().click().await.unwrap();
    shows(&browser, "h1", "greets").await;
    shows(&browser, "#log-lines", MARKUP).await;
    shows(&browser, ".hop pre", "ada</b>").await;
    shows(&browser, ".timeline", "waited").await;
    let title = browser.title().await.unwrap();
    assert!(!title.contains("owned"), "{title}");
    assert!(
        browser.find(Locator::Css("#injected")).await.is_err(),
        "markup of a user became part of the page"
    );
    // The request to a route has the calls that it made.
    go(&browser, &app.url, "/_flash/requests/goes-over").await;
    for function in ["POST /greet", "greet", "add"] {
        shows(&browser, ".timeline th", function).await;
    }
    go(&browser, &app.url, "/_flash/requests?state=failed").await;
    shows(&browser, "#list td", "fail").await;
    assert!(browser.find(Locator::LinkText("greets")).await.is_err(), "it did not fail");

    go(&browser, &app.url, "/_flash/logs?worker=greeter").await;
    shows(&browser, "#log", MARKUP).await;
    shows(&browser, "#log-state", "following").await;
    let later = json!({ "name": "a line of later", "times": 1 });
    assert_eq!(call(&client, &app, "jobs/greet", "later", later).await, 200);
    shows(&browser, "#log li", "greeting a line of later").await;
    assert!(browser.find(Locator::Css("#injected")).await.is_err(), "nor by a line that follows");

    go(&browser, &app.url, "/_flash/workers").await;
    shows(&browser, ".workers li", "web-").await;
    go(&browser, &app.url, "/_flash/costs").await;
    shows(&browser, "#all th[scope=row]", "greet").await;
    go(&browser, &app.url, "/_flash/failed").await;
    shows(&browser, "#all .problems", "it <i>broke</i>").await;
    assert_eq!(driver.console(&client, &browser).await, Vec::<String>::new());
    browser.close().await.unwrap();
}

#[tokio::test]
async fn jobs_are_cancelled_retried_and_run_again_from_their_pages() {
    let (app, client, driver) =
        (Running::start(&fixture(), &["--no-reload"]), Client::new(), Driver::start());
    let hold = json!({ "input": { "__flash": { "function": "hold" }, "seconds": 600.0 } });
    let held = submit(&client, &app, "holder", "holds", hold).await;
    let browser = driver.browser().await;
    go(&browser, &app.url, "/_flash/requests/holds").await;
    shows(&browser, "#summary .state", "running").await;
    press(&browser, "form[action$='/cancel'] button").await;
    shows(&browser, "#summary .state", "cancelled").await;
    let status = client.get(format!("{}/v2/holder/status/{held}", app.url)).await.json();
    assert_eq!(status["status"], "CANCELLED");

    // Again, with an input of one's own. What is not JSON is refused with the reason.
    let run_with = async |input: &str| {
        let script = "document.querySelector('.hop details').open = true; \
                      document.querySelector('textarea').value = arguments[0]";
        browser.execute(script, vec![json!(input)]).await.unwrap();
        press(&browser, "form[action^='/_flash/run/'] button").await;
    };
    run_with("{oops").await;
    shows(&browser, "main", "the input is not valid JSON").await;
    browser.back().await.unwrap();
    shows(&browser, "h1", "holds").await;
    run_with("{\"seconds\": 0.0}").await;
    assert_ne!(led_away_from(&browser, "/_flash/requests/holds").await, "/_flash/run/holder");
    shows(&browser, "#summary .state", "completed").await;
    // What a job was asked stays to be looked at, and is what the next one is offered.
    shows(&browser, ".hop pre", "\"seconds\": 0.0").await;
    let offered =
        browser.execute("return document.querySelector('textarea').value", Vec::new()).await.unwrap();
    assert!(offered.as_str().unwrap().contains("\"seconds\": 0.0"), "{offered}");

    // A route that refuses its caller has not failed, and not given what was asked for.
    let refused = client.raw().post(format!("{}/greet", app.url)).header("x-request-id", "refused");
    let status = client.send(refused.json(&json!({ "name": 7 }))).await.status;
    assert!((400..500).contains(&status), "{status}");
    go(&browser, &app.url, "/_flash/requests/refused").await;
    shows(&browser, "#summary .state", &format!("answered {status}")).await;

    // A job that has failed is tried once more.
    let failing = json!({ "input": { "__flash": { "function": "fail" }, "message": "no luck" } });
    submit(&client, &app, "trouble", "fails", failing).await;
    go(&browser, &app.url, "/_flash/requests/fails").await;
    shows(&browser, "#summary .state", "failed").await;
    let endings =
        || app.count("log", |line| line["text"].as_str().is_some_and(|text| text.contains("fail FAILED")));
    let before = endings();
    press(&browser, "form[action$='/retry'] button").await;
    until(
        "it to fail again",
        SOON,
        async || if endings() > before { Ok(()) } else { Err(endings().to_string()) },
    )
    .await;

    // Jobs that killed their workers are listed by themselves, and go back on demand.
    let crash = json!({ "input": { "words": "my last words" } });
    submit(&client, &app, "crasher", "kills", crash).await;
    go(&browser, &app.url, "/_flash/failed").await;
    shows(&browser, "section[aria-labelledby=dead]", "my last words").await;
    let dead = async || client.get(format!("{}/v2/crasher/dead", app.url)).await.json()["dead"].clone();
    let before = dead().await[0]["retries"].as_u64().unwrap();
    press(&browser, "form[action$='/requeue'] button").await;
    until("it to be tried again", SOON, async || {
        let dead = dead().await;
        // It may have killed its workers again by now.
        let is_tried = dead[0]["retries"].as_u64().is_none_or(|retries| retries > before);
        if is_tried { Ok(()) } else { Err(dead.to_string()) }
    })
    .await;
    browser.close().await.unwrap();
}

#[tokio::test]
async fn a_worker_that_is_killed_while_somebody_looks_is_shown_with_its_end() {
    let (app, client, driver) =
        (Running::start(&fixture(), &["--no-reload"]), Client::new(), Driver::start());
    let browser = driver.browser().await;
    go(&browser, &app.url, "/_flash/workers").await;
    shows(&browser, "section", "solo").await;
    let process = client.post(
        format!("{}/v2/solo/runsync", app.url),
        json!({ "input": { "__flash": { "function": "who" } } }),
    );
    let process = process.await.json()["output"].as_i64().unwrap();
    shows(&browser, "section[aria-labelledby=type-solo] .word", "idle").await;
    kill(Pid::from_raw(i32::try_from(process).unwrap()), Signal::SIGKILL).unwrap();
    shows(&browser, "section[aria-labelledby=type-solo] .word", "crashed").await;
    shows(&browser, "section[aria-labelledby=type-solo] .bad", "SIGKILL").await;
    assert_eq!(driver.console(&client, &browser).await, Vec::<String>::new());
    browser.close().await.unwrap();
}

#[tokio::test]
async fn no_page_is_wider_than_a_small_phone_and_all_can_be_used_without_a_mouse() {
    let (app, client, driver) =
        (Running::start(&fixture(), &["--no-reload"]), Client::new(), Driver::start());
    let long = json!({ "name": "x".repeat(300), "times": 1 });
    assert_eq!(call(&client, &app, "jobs/greet", &"i".repeat(100), long).await, 200);
    let browser = driver.browser().await;
    let request = format!("/_flash/requests/{}", "i".repeat(100));
    let pages = [
        "/_flash/",
        "/_flash/requests",
        &request,
        "/_flash/workers",
        "/_flash/logs",
        "/_flash/costs",
        "/_flash/failed",
    ];
    let sizes = "const page = document.documentElement; \
                 const tab = document.querySelector('nav [aria-current]')?.getBoundingClientRect(); \
                 const isCut = (own) => own.scrollWidth > own.clientWidth; \
                 return { window: innerWidth, sideways: page.scrollWidth - page.clientWidth, \
                          tabIsShown: !tab || (tab.left >= 0 && tab.right <= innerWidth), \
                          cutFigures: [...document.querySelectorAll('.figures div')].filter(isCut).length }";
    for width in [320, 800, 1400] {
        driver.narrow(&client, &browser, width).await;
        for path in pages {
            go(&browser, &app.url, path).await;
            shows(&browser, "main h1", "").await;
            let seen = browser.execute(sizes, Vec::new()).await.unwrap();
            let fits = json!({ "window": width, "sideways": 0, "tabIsShown": true, "cutFigures": 0 });
            assert_eq!(seen, fits, "{path}");
        }
    }
    driver.narrow(&client, &browser, 320).await;
    // The first key leads past the navigation.
    go(&browser, &app.url, "/_flash/").await;
    let body = browser.find(Locator::Css("body")).await.unwrap();
    body.send_keys("\u{e004}").await.unwrap();
    let focused = browser.active_element().await.unwrap();
    assert_eq!(focused.text().await.unwrap(), "Skip to the content");
    browser.close().await.unwrap();
}

#[tokio::test]
async fn without_a_key_only_this_machine_and_the_dashboards_own_pages_are_let_in() {
    let (app, client) = (Running::start(&fixture(), &["--no-reload"]), Client::new());
    let get = |path: &str| client.raw().get(format!("{}{path}", app.url));
    let page = client.send(get("/_flash/")).await;
    assert_eq!(page.status, 200);
    let policy = page.header("content-security-policy");
    assert!(
        policy.starts_with("default-src 'none'") && policy.contains("frame-ancestors 'none'"),
        "{policy}"
    );
    assert!(!policy.contains("unsafe"), "{policy}");
    assert_eq!(page.header("x-content-type-options"), "nosniff");
    assert_eq!(page.header("referrer-policy"), "same-origin");
    // A name that somebody points at this machine.
    let rebound = client.send(get("/_flash/").header("host", "evil.example")).await;
    assert_eq!(rebound.status, 403, "{rebound:?}");
    // A form on a page of another site, and one that no page sent.
    let change = || client.raw().post(format!("{}/_flash/run/greeter", app.url)).body("input={}");
    for request in [
        change(),
        change().header("origin", "https://evil.example"),
        change().header("origin", "http://localhost:1"),
        change().header("sec-fetch-site", "cross-site"),
    ] {
        assert_eq!(client.send(request).await.status, 403);
    }
    // Programs get what they always got.
    assert_eq!(client.send(get("/")).await.json()["app"], "fixture-app");
    assert_eq!(client.send(get("/_flash/requests/never-was")).await.json()["kind"], "not_found");
    let browsed = client.send(get("/_flash/requests/never-was").header("accept", "text/html")).await;
    assert_eq!((browsed.status, browsed.header("content-type")), (404, "text/html; charset=utf-8"));
    assert_eq!(client.send(get("/_flash/assets/none.js")).await.status, 404);
    let wrong = client.post(format!("{}/_flash/", app.url), json!({})).await;
    assert_eq!((wrong.status, wrong.header("allow")), (405, "GET, HEAD"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_environment_lets_in_who_has_its_key_and_nobody_else() {
    let (app, client, driver) = (Deployed::live(""), Client::new(), Driver::start());
    let (url, key) = (app.url(), app.key());
    let other = app.json(&["deploy", "new", "staging"])["key"].as_str().unwrap().to_owned();
    let browser = driver.browser().await;
    go(&browser, &url, "/").await;
    assert_eq!(browser.current_url().await.unwrap().path(), "/_flash/login");
    let log_in = async |key: &str| {
        let field = browser.find(Locator::Css("#key")).await.unwrap();
        field.clear().await.unwrap();
        field.send_keys(key).await.unwrap();
        press(&browser, "main button").await;
    };
    log_in("nonsense").await;
    shows(&browser, "[role=alert]", "unknown key").await;
    log_in(&other).await;
    shows(&browser, "[role=alert]", "belongs to another environment").await;
    go(&browser, &url, "/_flash/workers").await;
    assert_eq!(browser.current_url().await.unwrap().path(), "/_flash/login");
    log_in(&key).await;
    shows(&browser, "#workers th[scope=row]", "greeter").await;
    shows(&browser, "#identity", "production").await;
    let cookies = browser.get_all_cookies().await.unwrap();
    let [cookie] = &cookies[..] else { panic!("one cookie is expected: {cookies:?}") };
    assert_eq!((cookie.http_only(), cookie.path()), (Some(true), Some("/_flash/")));
    assert_eq!(cookie.same_site().map(|own| own.to_string()).as_deref(), Some("Strict"));
    assert!(!cookie.value().contains(&key));
    // The log of an environment follows, and its session opens nothing beside the dashboard.
    go(&browser, &url, "/_flash/logs").await;
    shows(&browser, "#log-state", "following").await;
    let session = format!("{}={}", cookie.name(), cookie.value());
    let with_session = |path: &str| client.raw().get(format!("{url}{path}")).header("cookie", &session);
    assert_eq!(client.send(with_session("/_flash/costs")).await.status, 200);
    assert_eq!(client.send(with_session("/v2/greeter/health")).await.status, 401);
    assert_eq!(client.send(with_session("/hello/ada")).await.status, 401);
    // Another environment does not know it.
    let staging = app.json(&["deploy", "info", "staging"])["environment"]["url"].as_str().unwrap().to_owned();
    let request = client.raw().get(format!("{staging}/_flash/costs")).header("cookie", &session);
    assert_eq!(client.send(request).await.status, 401);
    // A session there leaves the one here alone, although a browser does not tell ports apart.
    go(&browser, &staging, "/_flash/login").await;
    log_in(&other).await;
    shows(&browser, "#identity", "staging").await;
    go(&browser, &url, "/_flash/workers").await;
    shows(&browser, "#identity", "production").await;

    // The command makes an address that logs in once.
    let printed = app.succeeds(&["dashboard", "production", "--print"]);
    let address = printed.stdout.trim();
    assert!(address.starts_with(&format!("{url}/_flash/login#")) && !address.contains(&key), "{printed:#?}");
    browser.delete_all_cookies().await.unwrap();
    for place in ["/_flash/", "/_flash/login"] {
        browser.goto("about:blank").await.unwrap();
        browser.goto(address).await.unwrap();
        until("the token to be used", SOON, async || {
            let now = browser.current_url().await.map_err(|error| error.to_string())?;
            let is_there = now.path() == place && now.fragment().is_none();
            if is_there { Ok(()) } else { Err(now.to_string()) }
        })
        .await;
        shows(&browser, "main", if place == "/_flash/" { "Worker types" } else { "Log in to" }).await;
        browser.delete_all_cookies().await.unwrap();
    }

    // It ends with its key.
    app.json(&["key", "new", "production"]);
    let prefix = app.json(&["key", "list", "production"]);
    let first = prefix["keys"]
        .as_array()
        .unwrap()
        .iter()
        .find(|own| key.starts_with(own["prefix"].as_str().unwrap()));
    let first = first.unwrap_or_else(|| panic!("{prefix}"))["prefix"].as_str().unwrap().to_owned();
    app.succeeds(&["key", "revoke", "production", &first]);
    until("the session to end", SOON, async || {
        let status = client.send(with_session("/_flash/costs")).await.status;
        if status == 401 { Ok(()) } else { Err(status.to_string()) }
    })
    .await;
    browser.close().await.unwrap();
}
