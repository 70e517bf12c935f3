//! The list of requests when there are as many as are kept.
use fantoccini::{Client as Browser, Locator};
use futures_util::{StreamExt as _, stream};
use serde_json::json;

use super::{go, press, shows};
use crate::support::{Client, Running, browser::Driver, fixture};

/// As many calls of a worker type as the platform keeps.
const MANY: usize = 10_000;
/// Calls that are made at the same time.
const TOGETHER: usize = 32;

/// Calls a route, as the request with this number.
async fn ask(client: &Client, app: &Running, number: usize) {
    let request = client.raw().get(format!("{}/items/1", app.url));
    let answer = client.send(request.header("x-request-id", format!("asks-{number:05}"))).await;
    assert_eq!(answer.status, 200, "{answer:?}");
}

/// Rows of the list, and bytes of the whole page.
async fn size(browser: &Browser) -> (usize, usize) {
    let rows = browser.find_all(Locator::Css("#list tbody tr")).await.unwrap().len();
    (rows, browser.source().await.unwrap().len())
}

#[tokio::test]
async fn of_10_000_requests_each_is_found_and_every_page_stays_short() {
    let (app, client, driver) =
        (Running::start(&fixture(), &["--no-reload"]), Client::new(), Driver::start());
    // The first alone, so that its worker is there.
    ask(&client, &app, 0).await;
    let calls = stream::iter(1..MANY).map(|number| ask(&client, &app, number));
    calls.buffer_unordered(TOGETHER).collect::<Vec<()>>().await;

    let browser = driver.browser().await;
    go(&browser, &app.url, "/_flash/requests").await;
    shows(&browser, ".pages", "Requests 1 to 200.").await;
    let (rows, bytes) = size(&browser).await;
    assert!(rows == 200 && bytes < 500_000, "{rows} rows, {bytes} bytes");
    press(&browser, ".pages a").await;
    shows(&browser, ".pages", "Requests 201 to 400.").await;
    go(&browser, &app.url, "/_flash/requests?page=50").await;
    shows(&browser, ".pages", "Requests 9,801 to 10,000.").await;
    assert!(browser.find(Locator::LinkText("Older")).await.is_err(), "it is the last page");
    go(&browser, &app.url, "/_flash/requests?page=51").await;
    shows(&browser, "#list", "There are no older requests.").await;

    // One of the oldest, by a part of its ID.
    go(&browser, &app.url, "/_flash/requests").await;
    browser.find(Locator::Css("input[name=id]")).await.unwrap().send_keys("asks-00007").await.unwrap();
    press(&browser, "form[role=search] button").await;
    shows(&browser, ".pages", "1 request.").await;
    shows(&browser, "#list td", "GET /items/{id}").await;
    // A search that fits all has pages, too, and they keep what was searched for.
    go(&browser, &app.url, "/_flash/requests?function=items&state=completed").await;
    shows(&browser, ".pages", "Requests 1 to 200.").await;
    press(&browser, ".pages a").await;
    shows(&browser, ".pages", "Requests 201 to 400.").await;
    let kept = browser.execute("return document.querySelector('[name=function]').value", Vec::new()).await;
    assert_eq!(kept.unwrap(), json!("items"));
    assert_eq!(driver.console(&client, &browser).await, Vec::<String>::new());
    browser.close().await.unwrap();
}
