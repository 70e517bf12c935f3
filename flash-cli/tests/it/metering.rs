//! What things cost through `flash run`: jobs, requests with their hops, and a bill that adds up.
use std::{collections::BTreeMap, path::Path, time::Duration};

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::support::{Answer, Client, Running, SOON, copy_of_fixture, fixture, root, until};

const COST: &str = "x-flash-cost-nanodollars";
const HOPS: &str = "x-flash-cost-hops";
/// Of one vCPU for one second, as the catalogue has it.
const CATALOGUE_PRICE: u64 = 8_300;
/// What hand-over and report may take beside the run itself, on a busy machine.
const BESIDE: Duration = Duration::from_secs(1);

struct App {
    running: Running,
    client: Client,
}

impl App {
    fn start(directory: &Path) -> Self {
        let target = root().join("target");
        let environment = [("CARGO_TARGET_DIR", target.to_str().unwrap())];
        let running = Running::start_with(directory, &["--no-reload"], &environment);
        Self { running, client: Client::new() }
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.running.url)
    }

    async fn get(&self, path: &str) -> Value {
        let answer = self.client.get(self.url(path)).await;
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
        answer.json()
    }

    async fn post(&self, path: &str, body: Value) -> Answer {
        self.client.post(self.url(path), body).await
    }

    /// A request with an id.
    async fn post_as(&self, id: &str, path: &str, body: Value) -> Answer {
        let request = self.client.raw().post(self.url(path)).header("x-request-id", id);
        self.client.send(request.header("content-type", "application/json").body(body.to_string())).await
    }

    async fn run(&self, worker: &str, function: &str, mut input: Value) -> String {
        input["__flash"] = json!({ "function": function });
        let job = self.post(&format!("/v2/{worker}/run"), json!({ "input": input })).await.json();
        job["id"].as_str().unwrap_or_else(|| panic!("{job}")).to_owned()
    }

    async fn ended(&self, worker: &str, job: &str) -> Value {
        let job = self.get(&format!("/v2/{worker}/status-sync/{job}")).await;
        assert!(job["executionTime"].is_u64(), "still runs: {job}");
        job
    }

    /// Costs of the hops of a request, by worker type; once it has one on each of these.
    async fn hops(&self, request: &str, on: &[&str]) -> BTreeMap<String, u64> {
        let path = format!("/_flash/requests/{request}");
        let seen = until("its hops", SOON, async || {
            let answer = self.client.get(self.url(&path)).await;
            let hops = answer.json()["hops"].as_array().cloned().unwrap_or_default();
            let has = |name: &&str| hops.iter().any(|hop| hop["workerType"] == **name);
            on.iter().all(has).then(|| answer.json()).ok_or(answer.text)
        })
        .await;
        let hops = seen["hops"].as_array().unwrap();
        assert!(hops.iter().all(|hop| hop["workerId"].is_string()), "{seen}");
        let sum: u64 = hops.iter().map(|hop| hop["nanoDollars"].as_u64().unwrap()).sum();
        assert_eq!((seen["nanoDollars"].as_u64(), &seen["requestId"]), (Some(sum), &json!(request)));
        let cost = |hop: &Value| {
            (hop["workerType"].as_str().unwrap().to_owned(), hop["nanoDollars"].as_u64().unwrap())
        };
        hops.iter().map(cost).collect()
    }

    /// Costs of all jobs that clients made on an endpoint.
    async fn charged(&self, worker: &str) -> u64 {
        let jobs = self.get(&format!("/v2/{worker}/requests?limit=1000")).await;
        jobs["requests"].as_array().unwrap().iter().filter_map(|job| job["costNanoDollars"].as_u64()).sum()
    }
}

fn cost(job: &Value) -> u64 {
    job["costNanoDollars"].as_u64().unwrap_or_else(|| panic!("no cost: {job}"))
}

/// The header of hops, as name and cost.
fn header_hops(answer: &Answer) -> Vec<(String, u64)> {
    let hop = |part: &str| {
        let (name, cost) = part.split_once('=').unwrap_or_else(|| panic!("{answer:?}"));
        (name.to_owned(), cost.parse().unwrap())
    };
    answer.header(HOPS).split(", ").map(hop).collect()
}

/// That start, run and idle are the bill, to the nano-dollar.
fn assert_adds_up(bill: &Value) {
    let part = |name: &str| bill[name].as_u64().unwrap_or_else(|| panic!("no {name}: {bill}"));
    let parts = part("startNanoDollars") + part("runNanoDollars") + part("idleNanoDollars");
    assert_eq!(parts, part("billNanoDollars"), "{bill}");
}

#[tokio::test]
async fn a_job_costs_what_its_worker_costs_while_it_runs() {
    let app = App::start(&fixture());
    let answer = app.post("/supervised/hold/run_sync", json!({ "seconds": 1.0 })).await;
    let job = answer.json();
    let ran = job["executionTime"].as_u64().unwrap();
    let (least, most) =
        (ran * CATALOGUE_PRICE / 1000, (ran + BESIDE.as_millis() as u64) * CATALOGUE_PRICE / 1000);
    assert!((least..=most).contains(&cost(&job)), "{job} should cost {least} to {most}");
    assert_eq!(answer.header(COST), cost(&job).to_string());
    assert_eq!(header_hops(&answer), [("holder".to_owned(), cost(&job))]);
    // The log says the same.
    let dollars = format!(", $0.{:09}", cost(&job));
    app.running.event("log", |line| line["text"].as_str().is_some_and(|text| text.ends_with(&dollars)));

    // While it runs, it shows what it owes by now; a job that only waits has cost nothing.
    let running = app.run("holder", "hold", json!({ "seconds": 20.0 })).await;
    let path = format!("/v2/holder/status/{running}");
    until("a growing cost", SOON, async || {
        let job = app.get(&path).await;
        (job["status"] == "IN_PROGRESS" && cost(&job) > 0).then_some(()).ok_or(job.to_string())
    })
    .await;
    app.post(&format!("/v2/holder/cancel/{running}"), json!({})).await;
    let stopped = app.get(&path).await;
    assert!(stopped["status"] == "CANCELLED" && cost(&stopped) > 0, "{stopped}");
}

#[tokio::test]
async fn jobs_at_the_same_time_on_one_worker_split_what_it_costs() {
    let app = App::start(&fixture());
    let hold = || app.post("/supervised/hold/run_sync", json!({ "seconds": 2.0 }));
    let jobs = join_all([hold(), hold()]).await;
    let jobs: Vec<Value> = jobs.iter().map(Answer::json).collect();
    assert_eq!(jobs[0]["workerId"], jobs[1]["workerId"]);
    for job in &jobs {
        let alone = job["executionTime"].as_u64().unwrap() * CATALOGUE_PRICE / 1000;
        assert!(cost(job) < alone * 3 / 4, "{job}: alone it would cost {alone}");
    }
    let bill = app.get("/_flash/bill").await["workerTypes"]["holder"].clone();
    assert_adds_up(&bill);
    assert_eq!(bill["runNanoDollars"], cost(&jobs[0]) + cost(&jobs[1]));
    let busy = bill["runSeconds"].as_f64().unwrap() * CATALOGUE_PRICE as f64;
    let both = (cost(&jobs[0]) + cost(&jobs[1])) as f64;
    assert!((busy - both).abs() < 3.0, "{busy} is {both} but for rounding");
}

#[tokio::test]
async fn a_route_says_what_it_cost_hop_by_hop() {
    let app = App::start(&fixture());
    let answer = app.post_as("pipeline-7", "/greet", json!({ "name": "bob" })).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let told = header_hops(&answer);
    let names: Vec<&str> = told.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["web", "greeter", "adder"]);
    let sum: u64 = told.iter().map(|(_, cost)| cost).sum();
    assert_eq!(answer.header(COST), sum.to_string());

    let hops = app.hops("pipeline-7", &names).await;
    for (name, cost) in &told[1..] {
        assert_eq!(hops[name], *cost, "{name}");
    }
    assert!(hops["web"] >= told[0].1, "the route's own share grows until its answer has ended");
    let whole = app.get("/_flash/requests/pipeline-7").await;
    let function = |name: &str| {
        let hop = whole["hops"].as_array().unwrap().iter().find(|hop| hop["workerType"] == name);
        hop.unwrap()["function"].clone()
    };
    assert_eq!((function("web"), function("greeter")), (json!("greet_over"), json!("greet")));

    // What fails has cost something too.
    for (id, path, name) in [("r1", "/fail", "web"), ("r2", "/trouble/fail/run_sync", "trouble")] {
        let failed = app.post_as(id, path, json!({ "message": "no" })).await;
        assert!(failed.status >= 500, "{failed:?}");
        assert!(failed.header(COST).parse::<u64>().unwrap() > 0, "{failed:?}");
        assert_eq!(header_hops(&failed)[0].0, name);
    }
    let unknown = app.client.get(app.url("/_flash/requests/never-was")).await;
    assert_eq!(unknown.status, 404);
    assert!(unknown.json()["error"].as_str().unwrap().contains("`never-was`"), "{unknown:?}");
    assert_eq!(app.client.get(app.url("/nothing-here")).await.header(COST), "", "nothing ran for it");
}

#[tokio::test]
async fn shares_start_and_idle_are_the_bill_at_the_projects_own_price() {
    let directory = copy_of_fixture("metering");
    std::fs::write(directory.path().join("flash.toml"), "[prices]\ncpu3c-1-2 = 0.0123\n").unwrap();
    const PRICE: u64 = 12_300_000;
    let app = App::start(directory.path());

    let greetings = (0..30).map(|_| app.run("greeter", "greet", json!({ "name": "al", "times": 1 })));
    let failures = (0..10).map(|_| app.run("trouble", "fail", json!({ "message": "no" })));
    let (greetings, failures) = tokio::join!(join_all(greetings), join_all(failures));
    let crashed = app.run("crasher", "crash", json!({ "words": "bye" })).await;
    let stopped = app.run("holder", "hold", json!({ "seconds": 60.0 })).await;
    for id in 0..5 {
        app.post_as(&format!("r{id}"), "/greet", json!({ "name": "bob" })).await;
    }
    for job in &greetings {
        app.ended("greeter", job).await;
    }
    for job in &failures {
        app.ended("trouble", job).await;
    }
    let dead = app.ended("crasher", &crashed).await;
    assert!(cost(&dead) > 0 && dead["retries"] == 2, "{dead}");
    until("the start of a job", SOON, async || {
        let job = app.get(&format!("/v2/holder/status/{stopped}")).await;
        (job["status"] == "IN_PROGRESS").then_some(()).ok_or(job.to_string())
    })
    .await;
    app.post(&format!("/v2/holder/cancel/{stopped}"), json!({})).await;

    // Jobs of workers that call are in no listing; their requests are.
    let mut called = BTreeMap::new();
    for id in 0..5 {
        for (name, cost) in app.hops(&format!("r{id}"), &["web", "greeter", "adder"]).await {
            *called.entry(name).or_insert(0) += cost;
        }
    }
    let expected = |name: &str, listed: u64| listed + called.get(name).copied().unwrap_or(0);
    for name in ["greeter", "adder", "trouble", "crasher", "holder", "web"] {
        // The stopped job owes until its worker has let go of it.
        until("the sum of all shares", SOON, async || {
            let before = if name == "web" { 0 } else { app.charged(name).await };
            let bill = app.get("/_flash/bill").await["workerTypes"][name].clone();
            assert_adds_up(&bill);
            let run = bill["runNanoDollars"].as_u64().unwrap();
            let shares = expected(name, before);
            (run == shares && run > 0).then_some(()).ok_or(format!("{name}: shares of {shares} in {bill}"))
        })
        .await;
    }
    let bill = app.get("/_flash/bill").await;
    let mut total = 0;
    for (name, bill) in bill["workerTypes"].as_object().unwrap() {
        assert_adds_up(bill);
        let whole = bill["billNanoDollars"].as_u64().unwrap();
        total += whole;
        let price = bill["pricePerSecond"].as_u64().unwrap();
        assert_eq!(whole % price, 0, "whole seconds: {name}: {bill}");
        // The one type that is not on this instance has the catalogue's price.
        assert_eq!(price == PRICE, name != "sharer", "{name}: {bill}");
    }
    assert_adds_up(&bill["total"]);
    assert_eq!(bill["total"]["billNanoDollars"], total);
    let crashers = &bill["workerTypes"]["crasher"];
    assert_eq!(crashers["workers"], 3, "each attempt had a worker of its own: {crashers}");
    assert!(crashers["startSeconds"].as_f64().unwrap() > 0.0, "{crashers}");
}
