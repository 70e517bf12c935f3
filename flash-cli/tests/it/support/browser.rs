//! A real browser: chromium, driven by its WebDriver.
use std::{
    io::{BufRead as _, BufReader},
    os::unix::process::CommandExt as _,
    process::{Child, Command, Stdio},
};

use fantoccini::{Client as Browser, ClientBuilder};
use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::Client;

/// How often the driver may find its port taken.
const STARTS: u32 = 5;

/// Chrome's WebDriver on a free port.
pub struct Driver {
    child: Child,
    url: String,
    _profile: TempDir,
}

impl Driver {
    /// Starts it, again if its port is taken: it takes a free one of IPv4 and needs the same one of IPv6.
    pub fn start() -> Self {
        let mut said = Vec::new();
        for _ in 0..STARTS {
            match Self::try_start() {
                Ok(driver) => return driver,
                Err(lines) => said = lines,
            }
        }
        panic!("chromedriver has not started in {STARTS} tries: {said:?}");
    }

    /// What it said, where it ends before it listens.
    fn try_start() -> Result<Self, Vec<String>> {
        let mut child = Command::new("chromedriver")
            .arg("--port=0")
            .process_group(0)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("chromedriver is installed: `cargo xtask test` sees to it");
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let mut lines = stdout.lines().map_while(Result::ok);
        let mut said = Vec::new();
        let started = lines.by_ref().find(|line| {
            said.push(line.clone());
            line.contains("started successfully on port")
        });
        let Some(started) = started else {
            child.wait().unwrap();
            return Err(said);
        };
        let port = started.rsplit(' ').next().unwrap().trim_end_matches('.').to_owned();
        // Reads on, so that the driver never waits for room in the pipe.
        std::thread::spawn(move || lines.for_each(drop));
        Ok(Self { child, url: format!("http://127.0.0.1:{port}"), _profile: TempDir::new().unwrap() })
    }

    /// A window of the usual width.
    pub async fn browser(&self) -> Browser {
        self.browser_with(&[]).await
    }

    /// A window with these arguments for the browser.
    pub async fn browser_with(&self, more: &[&str]) -> Browser {
        let profile = format!("--user-data-dir={}", self._profile.path().display());
        let mut arguments = vec![
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
        arguments.extend(more);
        let capabilities = json!({
            "goog:chromeOptions": { "args": arguments },
            "goog:loggingPrefs": { "browser": "ALL" },
        });
        let capabilities = capabilities.as_object().unwrap().clone();
        ClientBuilder::new(hyper_util::client::legacy::connect::HttpConnector::new())
            .capabilities(capabilities)
            .connect(&self.url)
            .await
            .unwrap()
    }

    /// Makes the window as narrow as that of a phone, which windows of desktops are not.
    pub async fn narrow(&self, client: &Client, browser: &Browser, width: u32) {
        let metrics = json!({ "width": width, "height": 900, "deviceScaleFactor": 1, "mobile": false });
        self.command(client, browser, "Emulation.setDeviceMetricsOverride", metrics).await;
    }

    /// Shows pages as to somebody who wants them `light` or `dark`, and nothing that moves.
    pub async fn prefer(&self, client: &Client, browser: &Browser, scheme: &str) {
        let features = json!([
            { "name": "prefers-color-scheme", "value": scheme },
            { "name": "prefers-reduced-motion", "value": "reduce" },
        ]);
        self.command(client, browser, "Emulation.setEmulatedMedia", json!({ "features": features })).await;
    }

    /// Sends a command of the browser's own protocol.
    async fn command(&self, client: &Client, browser: &Browser, name: &str, parameters: Value) {
        let session = browser.session_id().await.unwrap().unwrap();
        let url = format!("{}/session/{session}/goog/cdp/execute", self.url);
        let answer = client.post(url, json!({ "cmd": name, "params": parameters })).await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }

    /// What the browser has written to its console since the last time, of warnings and errors.
    pub async fn console(&self, client: &Client, browser: &Browser) -> Vec<String> {
        let session = browser.session_id().await.unwrap().unwrap();
        let url = format!("{}/session/{session}/se/log", self.url);
        let log = client.post(url, json!({ "type": "browser" })).await.json();
        let entries = log["value"].as_array().unwrap_or_else(|| panic!("{log}"));
        let is_bad =
            |entry: &&Value| ["SEVERE", "WARNING"].contains(&entry["level"].as_str().unwrap_or_default());
        entries.iter().filter(is_bad).map(ToString::to_string).collect()
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
