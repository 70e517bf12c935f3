//! Pages that are brought up to date while somebody looks: only what has changed is drawn again.
use fantoccini::Locator;
use serde_json::{Value, json};

use super::{go, shows};
use crate::support::{Client, Running, SOON, browser::Driver, fixture, until};

#[tokio::test]
async fn a_worker_stays_on_the_page_while_its_times_go_on_and_shows_what_it_takes() {
    let (app, client, driver) =
        (Running::start(&fixture(), &["--no-reload"]), Client::new(), Driver::start());
    let job = json!({ "input": { "__flash": { "function": "who" } } });
    assert_eq!(client.post(format!("{}/v2/solo/runsync", app.url), job).await.status, 200);
    let browser = driver.browser().await;
    go(&browser, &app.url, "/_flash/workers").await;
    let workers = "section[aria-labelledby=type-solo] .workers li";
    shows(&browser, workers, "up for").await;
    // What the page had at first is marked, and some of it is selected.
    let script = "const worker = document.querySelector(arguments[0]); \
                  window.first = { worker, name: worker.querySelector('a'), text: worker.innerText }; \
                  getSelection().selectAllChildren(window.first.name);";
    browser.execute(script, vec![json!(workers)]).await.unwrap();
    shows(&browser, workers, "CPU").await;
    shows(&browser, workers, "MB").await;
    until("the times to go on", SOON, async || {
        let script = "return document.querySelector(arguments[0]).innerText !== window.first.text";
        match browser.execute(script, vec![json!(workers)]).await.map_err(|error| error.to_string())? {
            Value::Bool(true) => Ok(()),
            other => Err(other.to_string()),
        }
    })
    .await;
    let script = "const { worker, name } = window.first; \
                  return [document.contains(worker), document.contains(name), getSelection().toString() === name.textContent]";
    assert_eq!(browser.execute(script, Vec::new()).await.unwrap(), json!([true, true, true]));
    assert_eq!(driver.console(&client, &browser).await, Vec::<String>::new());
    browser.close().await.unwrap();
}

#[tokio::test]
async fn the_ticks_of_counts_are_whole_numbers() {
    let (app, client, driver) =
        (Running::start(&fixture(), &["--no-reload"]), Client::new(), Driver::start());
    let called =
        client.post(format!("{}/jobs/greet/run_sync", app.url), json!({ "name": "ada", "times": 1 }));
    assert_eq!(called.await.status, 200);
    let browser = driver.browser().await;
    until("curves", SOON, async || {
        go(&browser, &app.url, "/_flash/").await;
        let found = browser.find(Locator::Css(".u-legend")).await;
        found.map(drop).map_err(|error| error.to_string())
    })
    .await;
    // What is written left of the curves of workers, when they are drawn with news.
    let spy = "const write = CanvasRenderingContext2D.prototype.fillText; \
               window.ticks = []; \
               CanvasRenderingContext2D.prototype.fillText = function (text, x, y) { \
                 const chart = this.canvas.closest('.chart'); \
                 if (chart.querySelector('figcaption').textContent === 'Workers' && this.textAlign === 'right') window.ticks.push(text); \
                 return write.call(this, text, x, y); \
               };";
    browser.execute(spy, Vec::new()).await.unwrap();
    let ticks: Vec<String> = until("news of the curves", SOON, async || {
        let ticks = browser.execute("return window.ticks", Vec::new()).await;
        let ticks: Vec<String> = serde_json::from_value(ticks.map_err(|error| error.to_string())?).unwrap();
        if ticks.is_empty() { Err("none".to_owned()) } else { Ok(ticks) }
    })
    .await;
    let numbers: Vec<f64> = ticks.iter().map(|tick| tick.parse().unwrap()).collect();
    assert!(numbers.len() > 1 && numbers.iter().all(|number| number.fract() == 0.0), "{ticks:?}");
    browser.close().await.unwrap();
}
