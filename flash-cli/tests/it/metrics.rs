//! What an operator reads at `/_flash/metrics`, while an app does things.
use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    path::PathBuf,
    process::{Child, Command, Stdio},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use prometheus_parse::{Scrape, Value as Sample};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{
    Client, Running, SOON, crate_of, fixture,
    receiver::Receiver,
    root,
    skipped::{Needs, skip},
    until,
};

/// Names and values.
type Labels<'a> = &'a [(&'a str, &'a str)];

struct App {
    running: Running,
    client: Client,
}

impl App {
    fn start(environment: &[(&str, &str)]) -> Self {
        let running = Running::start_with(&fixture(), &["--no-reload"], environment);
        Self { running, client: Client::new() }
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.running.url)
    }

    async fn text(&self) -> String {
        let answer = self.client.get(self.url("/_flash/metrics")).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.text
    }

    async fn scrape(&self) -> Scrape {
        Scrape::parse(self.text().await.lines().map(|line| Ok(line.to_owned()))).unwrap()
    }

    /// Submits a line for a file, which is written once the gate exists.
    async fn submit(&self, file: &std::path::Path, gate: Option<&std::path::Path>, webhook: Option<&str>) {
        let input =
            json!({ "file": file, "line": "x", "gate": gate, "__flash": { "function": "write_line" } });
        let body = match webhook {
            Some(webhook) => json!({ "input": input, "webhook": webhook }),
            None => json!({ "input": input }),
        };
        let job = self.client.post(self.url("/v2/ordered/run"), body).await;
        assert_eq!(job.status, 200, "{job:?}");
    }

    /// Waits until all of these have these values.
    async fn has(&self, wanted: &[(&str, Labels<'_>, f64)]) -> Scrape {
        until("the numbers", SOON, async || {
            let scrape = self.scrape().await;
            let differs = wanted.iter().find(|(name, labels, value)| number(&scrape, name, labels) != *value);
            match differs {
                None => Ok(scrape),
                Some((name, labels, _)) => {
                    Err(format!("{name} {labels:?} is {}", number(&scrape, name, labels)))
                }
            }
        })
        .await
    }
}

/// The value of the sample that has these labels, among others; of a histogram, how many there are.
fn number(scrape: &Scrape, name: &str, labels: Labels<'_>) -> f64 {
    let found = scrape.samples.iter().find(|sample| {
        let has = |(label, value): &(&str, &str)| sample.labels.get(label) == Some(*value);
        sample.metric == name && labels.iter().all(has)
    });
    match &found.unwrap_or_else(|| panic!("no {name} with {labels:?}")).value {
        Sample::Counter(value) | Sample::Gauge(value) => *value,
        Sample::Histogram(classes) => classes.last().unwrap().count,
        other => panic!("{name} is {other:?}"),
    }
}

const ORDERED: Labels<'static> = &[("worker_type", "ordered")];

fn ended(outcome: &str) -> [(&str, &str); 3] {
    [("worker_type", "ordered"), ("function", "write_line"), ("outcome", outcome)]
}

#[tokio::test]
async fn jobs_move_the_counters_the_queue_and_the_cost() {
    let (app, directory) = (App::start(&[]), TempDir::new().unwrap());
    let (file, gate) = (directory.path().join("lines"), directory.path().join("gate"));
    let before = app.scrape().await;
    assert_eq!(
        number(&before, "flash_function_calls_total", &ended("completed")),
        0.0,
        "it is there at zero"
    );
    assert_eq!(number(&before, "flash_cost_dollars_total", ORDERED), 0.0);
    assert_eq!(number(&before, "flash_live_release", &[]), 1.0);

    let receiver = Receiver::start().await;
    app.submit(&file, None, Some(&receiver.url)).await;
    app.submit(&file, None, None).await;
    // There is no such directory.
    app.submit(&directory.path().join("none/lines"), None, None).await;
    let after = app
        .has(&[
            ("flash_function_calls_total", &ended("completed"), 2.0),
            ("flash_function_calls_total", &ended("failed"), 1.0),
            ("flash_calls_total", &[("worker_type", "ordered"), ("outcome", "completed")], 2.0),
            ("flash_call_wait_seconds", ORDERED, 3.0),
            ("flash_call_run_seconds", ORDERED, 3.0),
            ("flash_worker_starts_total", ORDERED, 1.0),
            ("flash_worker_start_seconds", ORDERED, 1.0),
            ("flash_worker_crashes_total", ORDERED, 0.0),
            ("flash_webhook_posts_total", &[("outcome", "delivered")], 1.0),
            ("flash_calls_waiting", ORDERED, 0.0),
        ])
        .await;
    let cost = number(&after, "flash_cost_dollars_total", ORDERED);
    assert!(cost > 0.0, "{cost}");

    // One worker with one slot: of three jobs, two wait.
    for _ in 0..3 {
        app.submit(&file, Some(&gate), None).await;
    }
    let full = app
        .has(&[
            ("flash_calls_waiting", ORDERED, 2.0),
            ("flash_calls_running", ORDERED, 1.0),
            ("flash_workers", &[("worker_type", "ordered"), ("state", "busy")], 1.0),
        ])
        .await;
    let age = |scrape: &Scrape| number(scrape, "flash_oldest_waiting_call_age_seconds", ORDERED);
    let first = age(&full);
    until("a growing age", SOON, async || {
        let now = age(&app.scrape().await);
        if now > first { Ok(()) } else { Err(format!("{now} after {first}")) }
    })
    .await;
    fs::write(&gate, "").unwrap();
    let after = app
        .has(&[
            ("flash_calls_waiting", ORDERED, 0.0),
            ("flash_calls_running", ORDERED, 0.0),
            ("flash_function_calls_total", &ended("completed"), 5.0),
            ("flash_workers", &[("worker_type", "ordered"), ("state", "idle")], 1.0),
        ])
        .await;
    assert_eq!(age(&after), 0.0);
    let of_function = [("worker_type", "ordered"), ("function", "write_line")];
    let share = number(&after, "flash_function_cost_dollars_total", &of_function);
    let run =
        number(&after, "flash_worker_seconds_total", &[("worker_type", "ordered"), ("activity", "run")]);
    assert!(share > 0.0 && run > 0.0 && number(&after, "flash_cost_dollars_total", ORDERED) >= share);
    until("a cost that moves", SOON, async || {
        let now = number(&app.scrape().await, "flash_cost_dollars_total", ORDERED);
        if now > cost { Ok(()) } else { Err(format!("{now} after {cost}")) }
    })
    .await;
    assert!(number(&after, "process_resident_memory_bytes", &[]) > 1_000_000.0);
    assert!(number(&after, "process_open_fds", &[]) > 3.0);
}

#[tokio::test]
async fn requests_are_counted_by_status_and_by_route() {
    let app = App::start(&[]);
    for (path, status) in [("/items/1", 200), ("/items/2", 200), ("/items/none", 422)] {
        let answer = app.client.get(app.url(path)).await;
        assert_eq!(answer.status, status, "{path}: {answer:?}");
    }
    let of_web = |code| [("worker_type", "web"), ("code", code)];
    app.has(&[
        ("flash_requests_total", &of_web("2xx"), 2.0),
        ("flash_requests_total", &of_web("4xx"), 1.0),
        ("flash_requests_total", &of_web("5xx"), 0.0),
    ])
    .await;
    // As text, because the parser of these tests does not read a label with a brace.
    let route = r#"{worker_type="web",function="GET /items/{id}",outcome="completed"}"#;
    let line = format!("\nflash_function_calls_total{route} 3\n");
    let text = app.text().await;
    let of_route = text.lines().find(|line| line.contains(route));
    assert!(text.contains(&line), "{of_route:?}");
}

#[tokio::test]
async fn metrics_need_a_key_and_that_of_a_worker_is_none() {
    const KEY: &str = "the-key-of-a-client";
    let app = App::start(&[("FLASH_API_KEY", KEY)]);
    let with = |key: &str, path: &str| app.client.raw().get(app.url(path)).bearer_auth(key);
    let body = json!({ "input": { "seconds": 0.0, "__flash": { "function": "hold" } } });
    let request = app.client.raw().post(app.url("/v2/holder/runsync")).bearer_auth(KEY).json(&body);
    let job = app.client.send(request).await.json();
    let process = job["output"].as_u64().unwrap_or_else(|| panic!("{job}"));
    let environment = fs::read(format!("/proc/{process}/environ")).unwrap();
    let environment = String::from_utf8_lossy(&environment).into_owned();
    let of_worker = environment.split('\0').find_map(|pair| pair.strip_prefix("RUNPOD_AI_API_KEY=")).unwrap();
    for path in ["/metrics", "/_flash/metrics"] {
        assert_eq!(app.client.get(app.url(path)).await.status, 401, "{path}");
        assert_eq!(app.client.send(with(of_worker, path)).await.status, 401, "{path}");
        let answer = app.client.send(with(KEY, path)).await;
        assert!(answer.status == 200 && answer.text.contains("flash_build_info"), "{path}: {answer:?}");
        assert!(!answer.text.contains(KEY) && !answer.text.contains(of_worker), "{path}");
    }
    // It opens what a worker may do.
    let input: Value = json!({ "left": 1 });
    let call = app.client.raw().post(app.url("/jobs/add/run_sync")).bearer_auth(of_worker).json(&input);
    assert_eq!(app.client.send(call).await.status, 200);
}

/// The directory with `prometheus` and `promtool`; `None` where there are none.
fn programs() -> Option<PathBuf> {
    let programs = std::env::var_os("FLASH_TEST_PROMETHEUS").map(PathBuf::from);
    if programs.is_none() {
        skip(Needs::Prometheus, "FLASH_TEST_PROMETHEUS is not set; `cargo xtask test` prepares Prometheus");
    }
    programs
}

/// A Prometheus that scrapes one address, and ends with this.
struct Prometheus {
    child: Child,
    url: String,
}

impl Prometheus {
    /// Starts it on a free port, which it tells in its log.
    fn start(programs: &std::path::Path, directory: &std::path::Path, target: &str) -> Self {
        let config = directory.join("prometheus.yml");
        let text = format!(
            "global: {{ scrape_interval: 1s }}\nscrape_configs:\n- job_name: flash\n  metrics_path: /_flash/metrics\n  \
             static_configs: [{{ targets: [\"{target}\"] }}]\n"
        );
        fs::write(&config, text).unwrap();
        let mut child = Command::new(programs.join("prometheus"))
            .args(["--web.listen-address=127.0.0.1:0", "--log.format=json"])
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.tsdb.path={}", directory.join("data").display()))
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
        let mut seen = Vec::new();
        let address = lines.by_ref().find_map(|line| {
            let said: Value = serde_json::from_str(&line).unwrap_or_default();
            seen.push(line);
            (said["msg"] == "Listening on").then(|| said["address"].as_str().unwrap().to_owned())
        });
        // It must not block on a full pipe.
        std::thread::spawn(move || lines.for_each(drop));
        let address = address.unwrap_or_else(|| panic!("Prometheus ended: {}", seen.join("\n")));
        Self { child, url: format!("http://{address}") }
    }

    /// Where it answers this query.
    fn query(&self, query: &str) -> reqwest::Url {
        reqwest::Url::parse_with_params(&format!("{}/api/v1/query", self.url), [("query", query)]).unwrap()
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test]
async fn promtool_has_nothing_to_say_and_a_real_prometheus_scrapes() {
    let Some(programs) = programs() else { return };
    let (app, directory) = (App::start(&[]), TempDir::new().unwrap());
    app.submit(&directory.path().join("lines"), None, None).await;
    app.client.get(app.url("/items/1")).await;
    app.has(&[("flash_function_calls_total", &ended("completed"), 1.0)]).await;

    let mut promtool = Command::new(programs.join("promtool"))
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    promtool.stdin.take().unwrap().write_all(app.text().await.as_bytes()).unwrap();
    let checked = promtool.wait_with_output().unwrap();
    let said = [checked.stdout, checked.stderr].concat();
    assert!(checked.status.success() && said.is_empty(), "{}", String::from_utf8_lossy(&said));

    let target = app.running.url.strip_prefix("http://").unwrap();
    let prometheus = Prometheus::start(&programs, directory.path(), target);
    for (query, value) in [
        ("up{job=\"flash\"}", "1"),
        (
            "flash_function_calls_total{worker_type=\"ordered\",function=\"write_line\",outcome=\"completed\"}",
            "1",
        ),
        ("flash_function_calls_total{function=\"GET /items/{id}\",outcome=\"completed\"}", "1"),
        ("flash_call_run_seconds_count{worker_type=\"ordered\"}", "1"),
        ("count(flash_build_info)", "1"),
    ] {
        until("what Prometheus scraped", SOON, async || {
            let answer = app.client.get(prometheus.query(query)).await;
            // While it starts, it answers with plain text.
            let said: Value = serde_json::from_str(&answer.text).unwrap_or_default();
            let found = said["data"]["result"][0]["value"][1] == *value;
            if found { Ok(()) } else { Err(format!("{query}: {}", answer.text)) }
        })
        .await;
    }
    for query in queries() {
        let answer = app.client.get(prometheus.query(&query)).await;
        assert_eq!(answer.status, 200, "{query}: {}", answer.text);
    }
}

/// Those of the documentation.
fn queries() -> Vec<String> {
    let page = include_str!("../../../docs/metrics.md");
    let blocks = page.split("```promql\n").skip(1).map(|block| block.split("```").next().unwrap());
    let queries: Vec<String> = blocks.flat_map(|block| block.split("\n\n")).map(str::to_owned).collect();
    assert!(queries.len() >= 4, "{queries:?}");
    queries
}

/// The example of the page, as an app.
#[tokio::test]
async fn the_apps_own_metrics_outlive_its_workers_except_for_gauges() {
    let page = fs::read_to_string(root().join("docs/metrics.md")).unwrap();
    let example = page.split("```rust\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let directory = crate_of("measured-app", &[("src/main.rs", example)]);
    let target = root().join("target");
    let environment = [("CARGO_TARGET_DIR", target.to_str().unwrap())];
    let running = Running::start_with(directory.path(), &["--no-reload"], &environment);
    let app = App { running, client: Client::new() };
    for (country, price) in [("ch", 3.5), ("ch", 20.0), ("de", 70.0)] {
        let input = json!({ "country": country, "price": price });
        let job = app.client.post(app.url("/v2/shop/runsync"), json!({ "input": input })).await;
        assert_eq!((job.status, &job.json()["status"]), (200, &json!("COMPLETED")), "{job:?}");
    }
    let of_shop = ("worker_type", "shop");
    let counted: &[(&str, Labels<'_>, f64)] = &[
        ("orders_total", &[of_shop, ("country", "ch")], 2.0),
        ("orders_total", &[of_shop, ("country", "de")], 1.0),
        ("order_price_dollars", &[of_shop], 3.0),
    ];
    until("the counts", SOON, async || {
        let text = app.text().await;
        if text.contains("orders_total{") && text.contains("cached_orders{") { Ok(()) } else { Err(text) }
    })
    .await;
    let scrape = app.has(counted).await;
    app.has(&[("cached_orders", &[of_shop], 3.0)]).await;
    assert!(app.text().await.contains("# HELP orders_total Orders that were paid"));
    let gauge = scrape.samples.iter().find(|sample| sample.metric == "cached_orders").unwrap();
    let worker = gauge.labels.get("worker").unwrap().to_owned();
    assert!(worker.starts_with("shop-"), "{worker}");

    let is_worker = |id: &i32| {
        fs::read_link(format!("/proc/{id}/exe")).is_ok_and(|program| program.starts_with(directory.path()))
    };
    let worker = app.running.descendants().into_iter().find(is_worker).expect("a worker");
    kill(Pid::from_raw(worker), Signal::SIGKILL).unwrap();
    until("the end of its gauge", SOON, async || {
        let text = app.text().await;
        if text.contains("cached_orders{") { Err(text) } else { Ok(()) }
    })
    .await;
    app.has(counted).await;
}
