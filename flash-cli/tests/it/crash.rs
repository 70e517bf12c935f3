//! What is promised of jobs while processes die: none is lost, none ends twice, none stays.
#![allow(clippy::print_stdout, reason = "numbers for whoever runs it by hand")]

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use nix::{
    sys::signal::{Signal, kill as send},
    unistd::Pid,
};
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::support::{
    Client, PATIENCE, Running, SOON, descendants, is_alive,
    kept::{Endpoint, Kept, id_of, input_for, is_final, kill},
    until,
};

/// Of the test below: how many jobs, by how many clients at once.
const JOBS: usize = 10_000;
const CLIENTS: usize = 16;
/// How often the platform dies meanwhile, and the pause between deaths of workers.
const PLATFORM_DEATHS: usize = 5;
const WORKER_DEATHS: Duration = Duration::from_millis(200);

/// Cancels of a computation that never pauses, by as many clients as there may be workers.
const CANCELS: usize = 1_000;
const SLOTS: usize = 3;

/// The same sequence each time.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % sides as u64).unwrap()
    }
}

/// The processes of one worker type.
fn workers_of(platform: i32, worker_type: &str) -> Vec<i32> {
    let wanted = format!("FLASH_WORKER={worker_type}");
    let is_worker = |process: &i32| {
        let environment = std::fs::read(format!("/proc/{process}/environ")).unwrap_or_default();
        environment.split(|byte| *byte == 0).any(|variable| variable == wanted.as_bytes())
    };
    descendants(platform).into_iter().filter(is_worker).collect()
}

/// Where the platform is; nowhere while it is dead.
type Address = watch::Sender<Option<String>>;

/// What the clients were promised: job ids, by number.
type Promised = Arc<Mutex<BTreeMap<usize, String>>>;

/// Submits one job until its id is answered, whatever dies in between.
async fn submit(client: &Client, address: &Address, number: usize) -> String {
    let mut address = address.subscribe();
    loop {
        let url = address.wait_for(Option::is_some).await.unwrap().clone().unwrap();
        let request = client.raw().post(format!("{url}/v2/relay/run"));
        let request = request.header("idempotency-key", format!("job-{number}"));
        let answer = request.json(&json!({ "input": { "number": number, "milliseconds": 20 } })).send().await;
        let Ok(answer) = answer else { continue };
        let status = answer.status().as_u16();
        // An answer that breaks off promises nothing.
        let Ok(text) = answer.text().await else { continue };
        // 503: it is up, the app not yet.
        assert!(status == 200 || status == 503, "{status}: {text}");
        if status == 200 {
            let accepted: Value = serde_json::from_str(&text).unwrap();
            return accepted["id"].as_str().unwrap().to_owned();
        }
    }
}

/// One of the clients: each `CLIENTS`th job, and now and then one again.
async fn submit_share(address: Address, promised: Promised, first: usize) {
    let client = Client::new();
    for number in (first..JOBS).step_by(CLIENTS) {
        let id = submit(&client, &address, number).await;
        promised.lock().unwrap().insert(number, id.clone());
        if number % 50 == first {
            assert_eq!(submit(&client, &address, number).await, id, "a key is a job, also after a death");
        }
    }
}

/// What somebody saw at the end of a job.
#[derive(Default)]
struct Ends(BTreeMap<usize, Value>);

impl Ends {
    /// Asks for a job, and remembers how it ended. What was seen before must still be so.
    fn see(&mut self, number: usize, job: &Value) {
        let end = json!([job["status"], job["output"], job["error"]]);
        match self.0.get(&number) {
            Some(before) => assert_eq!(*before, end, "job {number} ended twice: {job}"),
            None if is_final(job) => {
                match job["status"].as_str().unwrap() {
                    "COMPLETED" => assert_eq!(job["output"], number, "{job}"),
                    "FAILED" => {
                        let error = job["error"].as_str().unwrap();
                        let died = "the worker died on each of 3 attempts";
                        assert!(error.contains(died) && error.contains("SIGKILL"), "{job}");
                    }
                    other => panic!("{other}: nobody asked for that: {job}"),
                }
                self.0.insert(number, end);
            }
            None => {}
        }
    }

    /// All jobs, by several readers at once. Those that have not ended are left out.
    async fn see_all(&mut self, app: &Running, promised: &Promised) {
        let promised: Vec<_> = promised.lock().unwrap().clone().into_iter().collect();
        let endpoint = Endpoint::of(app, "relay");
        let readers = promised.chunks(JOBS.div_ceil(CLIENTS)).map(|share| {
            let (endpoint, share) = (endpoint.clone(), share.to_vec());
            tokio::spawn(async move {
                let mut jobs = Vec::with_capacity(share.len());
                for (number, id) in share {
                    jobs.push((number, endpoint.status(&id).await));
                }
                jobs
            })
        });
        for (number, job) in join_all(readers).await.into_iter().flat_map(Result::unwrap) {
            self.see(number, &job);
        }
    }

    fn with(&self, status: &str) -> BTreeSet<usize> {
        self.0.iter().filter(|(_, end)| end[0] == status).map(|(number, _)| *number).collect()
    }
}

/// Kills a worker every 200 ms.
struct Killer {
    dice: Dice,
    deaths: usize,
    last: Instant,
    /// Jobs completed at the last death. Without one since then a machine that is slower to start workers
    /// than we are to kill them would never get anywhere.
    completed: u64,
}

impl Killer {
    /// A death, if it is time for one.
    fn kill(&mut self, app: &Running, completed: u64) {
        if self.last.elapsed() < WORKER_DEATHS || completed == self.completed {
            return;
        }
        let workers = workers_of(app.id(), "relay");
        if !workers.is_empty() {
            let victim = workers[self.dice.roll(workers.len())];
            // It may just have ended by itself.
            self.deaths += usize::from(send(Pid::from_raw(victim), Signal::SIGKILL).is_ok());
            (self.last, self.completed) = (Instant::now(), completed);
        }
    }
}

/// Asks for one job after the other while everything dies, so that an end that is taken back shows.
async fn watch_ends(address: Address, promised: Promised, ends: Arc<Mutex<Ends>>) {
    let (client, mut dice, mut address) = (Client::new(), Dice(0xd1ce), address.subscribe());
    // It lives as long as the test.
    loop {
        let url = address.wait_for(Option::is_some).await.unwrap().clone().unwrap();
        let some = {
            let promised = promised.lock().unwrap();
            let place = dice.roll(promised.len().max(1));
            promised.iter().nth(place).map(|(number, id)| (*number, id.clone()))
        };
        let Some((number, id)) = some else {
            tokio::task::yield_now().await;
            continue;
        };
        let Ok(answer) = client.raw().get(format!("{url}/v2/relay/status/{id}")).send().await else {
            continue;
        };
        let status = answer.status().as_u16();
        let Ok(text) = answer.text().await else { continue };
        assert!(status == 200 || status == 503, "job {number}: {status}: {text}");
        if status == 200 {
            ends.lock().unwrap().see(number, &serde_json::from_str(&text).unwrap());
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_jobs_each_end_once_while_workers_and_the_platform_die() {
    let kept = Kept::new("crash-of-everything", "");
    let mut app = kept.start();
    let address: Address = watch::channel(Some(app.url.clone())).0;
    let promised = Promised::default();
    let clients: Vec<_> = (0..CLIENTS)
        .map(|first| tokio::spawn(submit_share(address.clone(), promised.clone(), first)))
        .collect();

    let ends: Arc<Mutex<Ends>> = Arc::default();
    let watching = tokio::spawn(watch_ends(address.clone(), promised.clone(), ends.clone()));
    let mut killer = Killer { dice: Dice(0x5eed), deaths: 0, last: Instant::now(), completed: 0 };
    let (mut platform_deaths, began) = (0, Instant::now());
    loop {
        let jobs = Endpoint::of(&app, "relay").get("health").await.json()["jobs"].clone();
        let number = |name: &str| jobs[name].as_u64().unwrap();
        let (completed, open) = (number("completed"), number("inQueue") + number("inProgress"));
        killer.kill(&app, completed);
        let submitted = promised.lock().unwrap().len();
        // In the midst of submitting and of running.
        if platform_deaths < PLATFORM_DEATHS
            && submitted >= JOBS * (platform_deaths + 1) / (PLATFORM_DEATHS + 1)
            && completed >= 100
        {
            kill(app);
            address.send_replace(None);
            app = kept.start();
            address.send_replace(Some(app.url.clone()));
            platform_deaths += 1;
            killer.completed = 0;
            continue;
        }
        if platform_deaths == PLATFORM_DEATHS && submitted == JOBS && open == 0 {
            break;
        }
        assert!(began.elapsed() < PATIENCE, "stuck: {open} open, {submitted} submitted");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let took = began.elapsed();
    for client in clients {
        client.await.unwrap();
    }
    assert!(!watching.is_finished(), "it saw something wrong: {:?}", watching.await);
    watching.abort();
    let mut ends = std::mem::take(&mut *ends.lock().unwrap());
    let seen = ends.0.len();

    ends.see_all(&app, &promised).await;
    assert_eq!(ends.0.len(), JOBS, "each has ended");
    let failed = ends.with("FAILED");
    let (deaths, dead) = (killer.deaths, failed.len());
    println!("{deaths} deaths of workers in {took:?}, {seen} jobs watched, {dead} dead");
    assert!(deaths >= PLATFORM_DEATHS && dead < JOBS / 10);
    check_listings(&app, &promised, &failed).await;
    // All of it is still so for those who come later.
    kill(app);
    let app = kept.start();
    ends.see_all(&app, &promised).await;
    check_listings(&app, &promised, &failed).await;
}

/// There are as many jobs as were promised, and the failed ones are those that killed their workers.
async fn check_listings(app: &Running, promised: &Promised, failed: &BTreeSet<usize>) {
    let promised = promised.lock().unwrap().clone();
    let endpoint = Endpoint::of(app, "relay");
    let ids = |jobs: Vec<Value>| -> BTreeSet<String> {
        jobs.iter().map(|job| job["id"].as_str().unwrap().to_owned()).collect()
    };
    let listed = endpoint.listed("limit=1000").await;
    assert_eq!(listed.len(), JOBS, "none twice, none that nobody knows");
    assert_eq!(ids(listed), promised.values().cloned().collect());
    assert_eq!(ids(endpoint.dead().await), failed.iter().map(|number| promised[number].clone()).collect());
}

/// Runs a computation that never ends, and cancels it. Its process.
async fn crunch_and_cancel(endpoint: &Endpoint, marks: &Path) -> i32 {
    let job = endpoint.run(json!({ "input": { "marks": marks, "slots": SLOTS } })).await;
    let running = endpoint.until(&job, |job| job["output"].is_u64() || is_final(job)).await;
    assert_eq!(running["status"], "IN_PROGRESS", "{running}");
    let cancelled = endpoint.post(&format!("cancel/{job}"), json!({})).await.json();
    assert_eq!(cancelled, json!({ "id": job, "status": "CANCELLED" }));
    i32::try_from(running["output"].as_i64().unwrap()).unwrap()
}

/// Ticks of CPU time, 10 ms each, that these processes have used.
fn ticks(processes: &[i32]) -> u64 {
    let of = |process: &i32| {
        let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
        let fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace();
        fields.skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum::<u64>()
    };
    processes.iter().map(of).sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_cancelled_busy_loops_leave_their_slots_and_the_cpu() {
    // A shorter grace than usual: a thousand of them would take long.
    let kept = Kept::new("crash-of-busy-loops", "[run]\nstop_grace_ms = 40\n");
    let app = kept.start();
    let marks = kept.path().join("marks");
    std::fs::create_dir(&marks).unwrap();
    let clients = (0..SLOTS).map(|first| {
        let (endpoint, marks) = (Endpoint::of(&app, "cruncher"), marks.clone());
        tokio::spawn(async move {
            let mut last = None;
            for _ in (first..CANCELS).step_by(SLOTS) {
                last = Some(crunch_and_cancel(&endpoint, &marks).await);
            }
            last.unwrap()
        })
    });
    let last = join_all(clients).await.into_iter().map(Result::unwrap).collect::<Vec<_>>();
    let cancelled = Instant::now();
    let spinning = || workers_of(app.id(), "cruncher");
    let gone = until("the end of the last ones", SOON, async || {
        let (before, alive) = (ticks(&spinning()), last.iter().any(|process| is_alive(*process)));
        tokio::time::sleep(Duration::from_millis(50)).await;
        let used = ticks(&spinning()).saturating_sub(before);
        if !alive && used <= 1 { Ok(Instant::now()) } else { Err(format!("{used} ticks, alive: {alive}")) }
    })
    .await;
    assert!(gone - cancelled < Duration::from_secs(1), "{:?}", gone - cancelled);
    let overlap = std::fs::read_to_string(marks.join("overlap")).unwrap_or_default();
    assert_eq!(overlap, "", "a slot was given away before its process was gone");
    let endpoint = Endpoint::of(&app, "cruncher");
    let jobs = endpoint.get("health").await.json()["jobs"].clone();
    assert_eq!((&jobs["retried"], &jobs["inProgress"], &jobs["inQueue"]), (&json!(0), &json!(0), &json!(0)));
    assert_eq!(endpoint.listed("status=CANCELLED&limit=1000").await.len(), CANCELS);
}

/// A job that kills its worker, and how it ends.
async fn poisoned(endpoint: &Endpoint, words: &str) -> (String, Value) {
    let job = endpoint.run(input_for("poison", json!({ "words": words }))).await;
    let end = endpoint.ended(&job).await;
    (job, end)
}

/// It has died as often as this, with signal and last words.
fn assert_dead(end: &Value, words: &str, deaths: u64) {
    assert_eq!((&end["status"], &end["retries"]), (&json!("FAILED"), &json!(deaths - 1)), "{end}");
    let error = end["error"].as_str().unwrap();
    for part in ["the worker died on each of 3 attempts", "SIGABRT", words] {
        assert!(error.contains(part), "no {part}: {error}");
    }
}

#[tokio::test]
async fn a_job_that_kills_its_workers_is_dead_after_three_attempts_and_harms_nobody() {
    let kept = Kept::new("crash-of-poison", "");
    let app = kept.start();
    let endpoint = Endpoint::of(&app, "poisoned");
    let harmless = |number: u64| input_for("harmless", json!({ "number": number }));
    let mut neighbours = Vec::new();
    for number in 0..10 {
        neighbours.push(endpoint.run(harmless(number)).await);
    }
    let poisoning = tokio::spawn({
        let endpoint = endpoint.clone();
        async move { poisoned(&endpoint, "my last words").await }
    });
    for number in 10..20 {
        neighbours.push(endpoint.run(harmless(number)).await);
    }
    let (job, end) = poisoning.await.unwrap();
    assert_dead(&end, "my last words", 3);
    for (number, neighbour) in neighbours.iter().enumerate() {
        let end = endpoint.ended(neighbour).await;
        assert_eq!((&end["status"], &end["output"]), (&json!("COMPLETED"), &json!(number)), "{end}");
    }
    let dead = endpoint.dead().await;
    assert_eq!(dead.len(), 1, "{dead:?}");
    assert_eq!(dead[0]["id"], job);
    assert_dead(&dead[0], "my last words", 3);

    // It is dead for the next platform too, and gets all its attempts when it is wanted again.
    kill(app);
    let app = kept.start();
    let endpoint = Endpoint::of(&app, "poisoned");
    assert_dead(&endpoint.dead().await[0], "my last words", 3);
    let requeued = endpoint.post(&format!("dead/{job}/requeue"), json!({})).await;
    assert_eq!(id_of(&requeued), job);
    assert_dead(&endpoint.ended(&job).await, "my last words", 6);
    let all = endpoint.post("dead/requeue", json!({})).await;
    assert_eq!(all.json(), json!({ "requeued": 1 }), "{all:?}");
    assert!(!is_final(&endpoint.status(&job).await), "it has three more");
    endpoint.post(&format!("cancel/{job}"), json!({})).await;
    let last = endpoint.run(harmless(7)).await;
    assert_eq!(endpoint.ended(&last).await["output"], 7);
}

#[tokio::test]
async fn jobs_that_kill_their_workers_hold_up_no_other() {
    let kept = Kept::new("crash-of-a-row", "");
    let app = kept.start();
    let endpoint = Endpoint::of(&app, "poisoned");
    let mut poisons = Vec::new();
    for _ in 0..3 {
        poisons.push(endpoint.run(input_for("poison", json!({ "words": "gone" }))).await);
    }
    let healthy = endpoint.run(input_for("harmless", json!({ "number": 7 }))).await;
    assert_eq!(endpoint.ended(&healthy).await["output"], 7);
    for poison in &poisons {
        assert_dead(&endpoint.ended(poison).await, "gone", 3);
    }
    // Nine workers died, and no start was put off for that.
    let said = |text: &str| app.count("log", |line| line["text"].as_str().unwrap().contains(text));
    assert_eq!((said("restarting in"), said("crash loop")), (0, 0));
    assert_eq!(endpoint.get("health").await.json()["workers"]["unhealthy"], 0);
}
