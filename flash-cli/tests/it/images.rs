//! Built images as workers: what is promised of workers holds for containers too, and none outlives `flash`.
//!
//! With podman; without it the tests do nothing, unless `FLASH_REQUIRE_CONTAINERS=1` forbids such a gap.
use std::path::Path;

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::support::{
    self, Client, Finished, Running, SOON, finish, flash,
    images::{Project, arguments_with, has_engine},
    kept::{Endpoint, input_for, is_final},
    until, wait_for,
};

/// Waits until no container is left.
fn wait_until_gone(project: &Project) {
    wait_for("the end of containers", SOON, || match project.containers() {
        left if left.is_empty() => Ok(()),
        left => Err(format!("{left:?}")),
    });
}

/// Starts a job that holds its worker, and waits until it does.
async fn holding(app: &Running, function: &str, seconds: u64) -> (Endpoint, String) {
    let endpoint = Endpoint::of(app, "holder");
    let job = endpoint.run(input_for(function, json!({ "seconds": seconds }))).await;
    let holds = |job: &Value| job["status"] == "IN_PROGRESS" && job["output"].is_string() || is_final(job);
    let running = endpoint.until(&job, holds).await;
    assert_eq!(running["status"], "IN_PROGRESS", "{running}");
    (endpoint, job)
}

/// The container of the worker that has this job.
async fn container_of(endpoint: &Endpoint, job: &str) -> String {
    let worker = endpoint.status(job).await["workerId"].as_str().unwrap().to_owned();
    format!("flash-{worker}")
}

#[tokio::test]
async fn a_job_is_done_inside_of_the_image_with_its_secrets_and_none_of_this_machine() {
    if !has_engine() {
        return;
    }
    let project = Project::new("");
    let variables = "SECRET=hush-4711\nLINES_OF_IT=\"one hush-4712\ntwo\"\nHOME=/hush-4713\n";
    std::fs::write(project.path().join(".env"), variables).unwrap();
    let app = project.start();
    let job = Client::new().post(format!("{}/main/look/run_sync", app.url), json!({})).await.json();
    let seen = &job["output"];
    assert_eq!((&seen["directory"], &seen["parent"]), (&json!("/app"), &json!(1)), "{job}");
    let root: Vec<&str> =
        seen["root"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
    assert!(root.contains(&"app") && !root.contains(&"bin") && !root.contains(&"home"), "{root:?}");
    assert_eq!((&seen["secret"], &seen["home"]), (&json!("hush-4711"), &json!("/hush-4713")), "{job}");
    assert_eq!((&seen["lines"], &seen["can_write"]), (&json!("one hush-4712\ntwo"), &json!(true)), "{job}");
    assert_eq!(seen["threads"], "1", "cpu3c-1-2 has one vCPU: {job}");
    // What it prints is known to be of this request, as from a process.
    let line = app.event("log", |line| line["text"] == "a look around");
    assert!(line["request_id"].is_string() && line["worker"] == job["workerId"], "{line}");

    let (endpoint, job) = holding(&app, "hold", 600).await;
    assert_eq!(arguments_with("hush-47"), Vec::<String>::new());
    let container = container_of(&endpoint, &job).await;
    assert!(!arguments_with(&container).is_empty(), "those of its client were looked at");
    // Whoever may read the description of a container reads no secret: its first process gets them otherwise.
    let description = project.podman(&["inspect", &container]);
    assert!(description.contains("FLASH_POD_URL") && !description.contains("hush-47"), "{description}");

    // What the container takes is measured like that of a process.
    let client = Client::new();
    until("what the workers take", SOON, async || {
        let page = client.get(format!("{}/_flash/workers", app.url)).await.text;
        if page.contains(" MB") { Ok(()) } else { Err(page) }
    })
    .await;
}

#[tokio::test]
async fn each_line_is_of_the_job_that_printed_it_however_fast_they_follow_each_other() {
    if !has_engine() {
        return;
    }
    let project = Project::new("");
    let app = project.start();
    let endpoint = Endpoint::of(&app, "looker");
    let mut jobs = Vec::new();
    for _ in 0..50 {
        jobs.push(endpoint.run(input_for("look", json!({}))).await);
    }
    for job in &jobs {
        let done = endpoint.ended(job).await;
        assert_eq!(done["status"], "COMPLETED", "{done}");
    }
    // A line may come a moment after the end of its job.
    for job in &jobs {
        app.event("log", |line| line["text"] == "a look around" && line["job_id"] == json!(job));
    }
    assert_eq!(app.count("log", |line| line["text"] == "a look around"), jobs.len());
}

#[tokio::test]
async fn a_route_is_answered_by_a_container_which_calls_another_one() {
    if !has_engine() {
        return;
    }
    let project = Project::new("");
    let app = project.start();
    let answer = Client::new().get(format!("{}/look/7", app.url)).await;
    let page = answer.json();
    assert_eq!((answer.status, &page["number"], &page["parent"]), (200, &json!(7), &json!(1)), "{answer:?}");
    assert_eq!(page["seen"]["directory"], "/app", "{page}");
    let mut types: Vec<String> =
        project.containers().iter().map(|name| name.rsplit_once('-').unwrap().0.to_owned()).collect();
    types.sort();
    assert_eq!(types, ["flash-looker", "flash-page"]);
}

#[tokio::test]
async fn the_container_of_an_idle_worker_is_removed() {
    if !has_engine() {
        return;
    }
    let project = Project::new("");
    let app = project.start();
    let job = Client::new().post(format!("{}/main/visit/run_sync", app.url), json!({})).await.json();
    assert_eq!(job["output"], 1, "it was in a container: {job}");
    wait_until_gone(&project);
    assert_eq!(app.count("log", |line| line["text"].as_str().unwrap().starts_with("ended")), 0, "no crash");
}

#[tokio::test]
async fn a_cancelled_busy_loop_takes_its_container_with_it() {
    if !has_engine() {
        return;
    }
    let project = Project::new("");
    let app = project.start();
    let (endpoint, job) = holding(&app, "grind", 600).await;
    let before = project.containers();
    assert_eq!(before.len(), 1);
    assert_eq!(endpoint.post(&format!("cancel/{job}"), json!({})).await.status, 200);
    wait_until_gone(&project);
    let next = endpoint.run(input_for("hold", json!({ "seconds": 0 }))).await;
    let done = endpoint.ended(&next).await;
    assert_eq!(done["status"], "COMPLETED", "{done}");
    assert_ne!(project.containers(), before, "another one has its slot");
}

#[tokio::test]
async fn a_container_killed_from_outside_is_a_crash_and_its_job_runs_again() {
    if !has_engine() {
        return;
    }
    let project = Project::new("");
    let app = project.start();
    let (endpoint, job) = holding(&app, "hold", 1).await;
    let killed = container_of(&endpoint, &job).await;
    project.podman(&["kill", &killed]);
    let told =
        app.event("log", |line| line["text"].as_str().unwrap().starts_with("ended: killed by SIGKILL"));
    assert_eq!(format!("flash-{}", told["worker"].as_str().unwrap()), killed);
    let text = told["text"].as_str().unwrap();
    assert!(!text.contains("its memory") || text.contains("or by hand"), "nobody can be sure: {text}");
    let done = endpoint.ended(&job).await;
    assert_eq!((&done["status"], &done["retries"]), (&json!("COMPLETED"), &json!(1)), "{done}");
    assert!(!project.containers().contains(&killed));
}

#[tokio::test]
async fn a_container_over_its_memory_dies_and_its_job_says_why() {
    if !has_engine() {
        return;
    }
    let project = Project::new("");
    let app = project.start();
    if !project.podman(&["info", "--format={{.Host.CgroupControllers}}"]).contains("memory") {
        // Nothing can be over a limit here; then whoever runs it is told so.
        let stderr = app.stderr();
        let is_told = |line: &str| line.contains("memory") && line.contains("are not applied");
        assert!(stderr.lines().any(is_told), "{stderr}");
        return;
    }
    let devour = async |megabytes: u32| {
        let url = format!("{}/main/devour/run_sync", app.url);
        Client::new().post(url, json!({ "megabytes": megabytes })).await.json()
    };
    let modest = devour(512).await;
    assert_eq!(modest["output"], 512, "{modest}");
    let job = devour(3 * 1024).await;
    let error = job["error"].as_str().unwrap_or_else(|| panic!("{job}"));
    assert!(error.ends_with("killed by SIGKILL: over its memory of 2 GB"), "{error}");
    assert!(!Path::new("oom").exists(), "the engine's monitor leaves such a file where it was started");
}

#[tokio::test]
async fn no_container_outlives_flash_in_whatever_way_and_moment_it_ends() {
    if !has_engine() {
        return;
    }
    let project = Project::new("drain_seconds = 1\n");
    for signal in [Signal::SIGKILL, Signal::SIGTERM, Signal::SIGINT] {
        let app = project.start();
        holding(&app, "grind", 600).await;
        assert_eq!(project.containers().len(), 1);
        end(app, signal);
        wait_until_gone(&project);
    }
    // While containers are being made: each time a step later.
    for made in [None, Some("config.json"), Some("conmon.pid"), Some("pidfile")] {
        let app = project.start();
        let endpoint = Endpoint::of(&app, "holder");
        endpoint.run(input_for("hold", json!({ "seconds": 600 }))).await;
        let client = || match arguments_with(project.store_path()) {
            found if found.iter().any(|line| line.contains("--name\0flash-holder-")) => Ok(()),
            found => Err(format!("{found:?}")),
        };
        wait_for("a container that is being made", SOON, client);
        if let Some(file) = made {
            wait_for(file, SOON, || if project.has_made(file) { Ok(()) } else { Err("none".to_owned()) });
        }
        end(app, Signal::SIGKILL);
        // Before the processes: a look at containers is a process too.
        wait_until_gone(&project);
        wait_for("the end of all its processes", SOON, || {
            let left = arguments_with(project.store_path());
            if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
        });
        // A client that was asked too early may have finished one in the meantime.
        assert_eq!(project.containers(), Vec::<String>::new(), "after {made:?}");
    }
}

fn end(app: Running, signal: Signal) {
    app.signal(signal);
    app.wait();
}

#[tokio::test]
async fn the_next_build_goes_live_and_a_broken_one_does_not() {
    if !has_engine() {
        return;
    }
    let project = Project::new("");
    let app = project.start();
    let built = project.record();
    let mut broken = built.clone();
    broken["images"][0]["digest"] = format!("sha256:{}", "0".repeat(64)).into();
    project.replace_record(&broken);
    let refused = app.event("reload", |event| event["ok"] == false);
    let error = refused["error"].as_str().unwrap();
    assert!(error.contains("is not the one that was built"), "{error}");
    let mut next = built;
    next["app"]["app"]["name"] = "another".into();
    project.replace_record(&next);
    app.event("reload", |event| event["ok"] == true);
    let about = Client::new().get(format!("{}/openapi.json", app.url)).await.json();
    assert_eq!(about["info"]["title"], "another", "{about}");
    let job = Client::new().post(format!("{}/main/look/run_sync", app.url), json!({})).await.json();
    assert_eq!(job["status"], "COMPLETED", "{job}");
}

/// A crate that was never built: cargo must be able to read it, no more.
fn crate_without_a_build() -> tempfile::TempDir {
    support::crate_of("never-built", &[("src/main.rs", "fn main() {}\n")])
}

fn refused(directory: &Path, arguments: &[&str]) -> Finished {
    let finished = finish(&[&["run", "--image"], arguments].concat(), directory);
    assert_eq!(finished.code, Some(2), "{}", finished.stderr);
    finished
}

#[test]
fn without_a_build_there_is_nothing_to_run() {
    let directory = crate_without_a_build();
    let refused = refused(directory.path(), &[]);
    assert!(refused.stderr.contains("no build found in"), "{}", refused.stderr);
    assert!(refused.stderr.contains("hint: build the images first: flash build"), "{}", refused.stderr);
}

#[test]
fn worker_types_without_an_image_are_named() {
    let project = Project::new("");
    let mut record = project.record();
    let images = record["images"].as_array_mut().unwrap();
    images.retain(|image| image["worker"] != "looker" && image["worker"] != "page");
    project.replace_record(&record);
    let refused = refused(project.path(), &[]);
    assert!(
        refused.stderr.contains("the last build made no image for `looker`, `page`"),
        "{}",
        refused.stderr
    );
    assert!(refused.stderr.contains("hint: build all worker types: flash build"), "{}", refused.stderr);
}

#[test]
fn without_an_engine_both_packages_are_named() {
    let project = Project::new("");
    std::fs::remove_file(project.path().join("flash.toml")).unwrap();
    // Rust is all that is left.
    let programs = tempfile::TempDir::new().unwrap();
    let path = std::env::var_os("PATH").unwrap();
    for name in ["cargo", "rustc"] {
        let mut places = std::env::split_paths(&path).map(|directory| directory.join(name));
        let place = places.find(|place| place.is_file()).unwrap();
        std::os::unix::fs::symlink(place, programs.path().join(name)).unwrap();
    }
    let output =
        flash(&["run", "--image"]).current_dir(project.path()).env("PATH", programs.path()).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{stderr}");
    for part in ["no container engine found", "hint: install the package `podman`, or `docker`"] {
        assert!(stderr.contains(part), "{stderr}");
    }
}
