//! `/docs` in a real browser: the page loads without a network, and "try it out" works.
use std::{
    io::{BufRead as _, BufReader},
    os::unix::process::CommandExt as _,
    process::{Child, Command, Stdio},
};

use fantoccini::{Client as Browser, ClientBuilder, Locator};
use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};
use serde_json::json;
use tempfile::TempDir;

use crate::support::{Running, SOON, fixture, until};

/// Chrome's WebDriver on a free port.
struct Driver {
    child: Child,
    url: String,
    _profile: TempDir,
}

impl Driver {
    fn start() -> Self {
        let mut child = Command::new("chromedriver")
            .arg("--port=0")
            .process_group(0)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("chromedriver is installed: `cargo xtask test` sees to it");
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let mut lines = stdout.lines().map_while(Result::ok);
        let started = lines.by_ref().find(|line| line.contains("started successfully on port")).unwrap();
        let port = started.rsplit(' ').next().unwrap().trim_end_matches('.').to_owned();
        // Reads on, so that the driver never waits for room in the pipe.
        std::thread::spawn(move || lines.for_each(drop));
        Self { child, url: format!("http://127.0.0.1:{port}"), _profile: TempDir::new().unwrap() }
    }

    async fn browser(&self) -> Browser {
        let profile = format!("--user-data-dir={}", self._profile.path().display());
        let arguments = [
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--disable-dev-shm-usage",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--window-size=1200,1600",
            &profile,
        ];
        let capabilities = json!({ "goog:chromeOptions": { "args": arguments } });
        let capabilities = capabilities.as_object().unwrap().clone();
        ClientBuilder::new(hyper_util::client::legacy::connect::HttpConnector::new())
            .capabilities(capabilities)
            .connect(&self.url)
            .await
            .unwrap()
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        // Its browser is in its group, and would outlive it.
        let group = Pid::from_raw(i32::try_from(self.child.id()).unwrap());
        let _ = killpg(group, Signal::SIGKILL);
        let _ = self.child.wait();
    }
}

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
