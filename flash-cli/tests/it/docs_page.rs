//! `/docs` in a real browser: the page loads without a network, and "try it out" works.
use fantoccini::Locator;

use crate::support::{Running, SOON, browser::Driver, fixture, until};

#[tokio::test]
async fn the_api_page_calls_a_function_and_shows_its_answer() {
    let app = Running::start(&fixture(), &["--no-reload"]);
    let driver = Driver::start();
    let browser = driver.browser().await;
    browser.goto(&format!("{}/docs", app.url)).await.unwrap();
    let shown = |css: &'static str| {
        let browser = browser.clone();
        async move {
            let found = browser.wait().at_most(SOON).for_element(Locator::Css(css)).await;
            found.unwrap_or_else(|error| panic!("`{css}` is not shown: {error}"))
        }
    };
    let title = shown(".info .title").await.text().await.unwrap();
    assert!(title.contains("fixture-app"), "{title}");

    // A page with more than a hundred operations draws only those near the window: its reader scrolls.
    until("the operation to be drawn", SOON, async || {
        match browser.find(Locator::Css("#operations-greeter-jobs_greet")).await {
            Ok(_) => Ok(()),
            Err(error) => {
                browser.execute("window.scrollBy(0, window.innerHeight / 2)", Vec::new()).await.unwrap();
                Err(error.to_string())
            }
        }
    })
    .await;
    // The doc comment is the summary; the body is filled in from the schema.
    let operation = shown("#operations-greeter-jobs_greet").await;
    assert!(operation.text().await.unwrap().contains("Greets somebody."));
    operation.find(Locator::Css(".opblock-summary-control")).await.unwrap().click().await.unwrap();
    let body = shown("#operations-greeter-jobs_greet textarea.body-param__text").await;
    assert!(body.prop("value").await.unwrap().unwrap().contains("\"name\""));
    shown("#operations-greeter-jobs_greet button.execute").await.click().await.unwrap();
    let status =
        shown("#operations-greeter-jobs_greet .live-responses-table tr.response .response-col_status").await;
    assert!(status.text().await.unwrap().starts_with("200"), "{}", status.text().await.unwrap());
    let answer =
        shown("#operations-greeter-jobs_greet .live-responses-table tr.response .highlight-code").await;
    assert!(answer.text().await.unwrap().contains("COMPLETED"), "{}", answer.text().await.unwrap());
    browser.close().await.unwrap();
}
