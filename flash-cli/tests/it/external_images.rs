//! Worker types that are images built elsewhere: `image` under `[workers.NAME]` in `flash.toml`.
//!
//! With podman; without it the tests do nothing, unless `FLASH_REQUIRE_CONTAINERS=1` forbids such a gap. The images are
//! those of another Flash app: they speak the provider's worker protocol, as the official Python worker does.
use std::process::Command;

use nix::sys::signal::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{
    Client, Finished, Running, SOON, crate_of,
    deployed::Deployed,
    finish_with,
    images::{Project, arguments_with, has_engine},
    kept::input_for,
    registry::{DockerRegistry, has_programs},
    root, wait_for,
};

/// An app with one function, which has the image look around.
const APP: &str = r#"
use flash_sdk::{Result, remote};
use serde_json::{Value, json};

#[remote(worker = "asker", cpu = Cpu3c_1_2, workers = 0..=1)]
pub async fn ask() -> Result<Value> {
    Ok(flash_sdk::call_worker("outside", &json!({ "__flash": { "function": "look" } })).await?)
}

#[flash_sdk::main]
async fn main() -> Result<()> {
    Ok(())
}
"#;

/// A worker type that is an image of the engine's store.
const OUTSIDE: &str = r#"
[workers.outside]
image = "localhost/elsewhere/looker:1"
workers = "0..=1"
idle_timeout = 600
env = { SECRET = "hush-4711" }
"#;

/// An app beside images of another one, which are in its engine's store.
struct Bench {
    directory: TempDir,
    /// The other app, and the store.
    elsewhere: Project,
}

impl Bench {
    fn new(name: &str, workers: &str) -> Self {
        let elsewhere = Project::new("");
        for worker in ["looker", "page"] {
            elsewhere.import(worker, &format!("localhost/elsewhere/{worker}:1"));
        }
        let settings = std::fs::read_to_string(elsewhere.path().join("flash.toml")).unwrap();
        let files = [("src/main.rs", APP), ("flash.toml", &format!("{settings}{workers}"))];
        Self { directory: crate_of(name, &files), elsewhere }
    }

    fn start(&self) -> Running {
        let target = root().join("target");
        Running::start_with(self.directory.path(), &[], &[("CARGO_TARGET_DIR", target.to_str().unwrap())])
    }

    /// What `flash run` says of settings that it cannot use.
    fn refused(&self, workers: &str) -> Finished {
        let settings = std::fs::read_to_string(self.elsewhere.path().join("flash.toml")).unwrap();
        std::fs::write(self.directory.path().join("flash.toml"), format!("{settings}{workers}")).unwrap();
        let target = root().join("target");
        let environment = [("CARGO_TARGET_DIR", target.to_str().unwrap())];
        let refused = finish_with(&["run", "--port", "0"], self.directory.path(), &environment);
        assert_eq!(refused.code, Some(2), "{refused:?}");
        refused
    }
}

/// A registry with the image of another app's `looker`, its name there, and its digest.
fn in_a_registry(elsewhere: &Project) -> (DockerRegistry, String, String) {
    let registry = DockerRegistry::start();
    let name = format!("{}/elsewhere/looker", registry.address);
    let layout = elsewhere.path().join(".flash/build/images");
    let copied = Command::new("skopeo")
        .args(["copy", "--quiet", "--preserve-digests", "--dest-tls-verify=false"])
        .args([format!("oci:{}:looker", layout.display()), format!("docker://{name}:1")])
        .output()
        .unwrap();
    assert!(copied.status.success(), "{}", String::from_utf8_lossy(&copied.stderr));
    let record = elsewhere.record();
    let images = record["images"].as_array().unwrap();
    let digest = images.iter().find(|image| image["worker"] == "looker").unwrap()["digest"].as_str().unwrap();
    (registry, name, digest.to_owned())
}

async fn runsync(client: &Client, app: &Running, worker: &str, body: Value) -> Value {
    let answer = client.post(format!("{}/v2/{worker}/runsync", app.url), body).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()
}

#[tokio::test]
async fn an_image_serves_jobs_beside_functions_which_call_it_and_ends_with_flash() {
    if !has_engine() {
        return;
    }
    let bench = Bench::new("external-queue", OUTSIDE);
    let app = bench.start();
    let client = Client::new();
    let job = runsync(&client, &app, "outside", input_for("look", json!({}))).await;
    let seen = &job["output"];
    assert_eq!((&seen["directory"], &seen["process"]), (&json!("/app"), &json!(1)), "in a container: {job}");
    assert_eq!(seen["secret"], "hush-4711", "{job}");
    // What it prints is known to be of this worker, as from a process.
    let line = app.event("log", |line| line["text"] == "a look around");
    assert_eq!((&line["worker"], &line["worker_type"]), (&job["workerId"], &json!("outside")), "{line}");
    assert_eq!(bench.elsewhere.containers(), [format!("flash-{}", job["workerId"].as_str().unwrap())]);
    assert_eq!(arguments_with("hush-4711"), Vec::<String>::new());

    let called = runsync(&client, &app, "asker", input_for("ask", json!({}))).await;
    assert_eq!(called["output"]["process"], 1, "by the same worker, out of a process: {called}");

    let ready = app.event("ready", |_| true);
    let rows = ready["endpoints"].as_array().unwrap();
    let row = rows.iter().find(|row| row["worker"] == "outside").unwrap();
    assert_eq!(row["function"], "localhost/elsewhere/looker:1", "{row}");

    app.signal(Signal::SIGTERM);
    assert!(app.wait().success());
    wait_for("the end of containers", SOON, || match bench.elsewhere.containers() {
        left if left.is_empty() => Ok(()),
        left => Err(format!("{left:?}")),
    });
}

#[tokio::test]
async fn an_image_that_serves_http_gets_its_port_in_arguments_too() {
    if !has_engine() {
        return;
    }
    let workers = r#"
[workers.web]
kind = "load_balanced"
image = "localhost/elsewhere/page:1"
args = ["--listen-4711=$PORT"]
workers = "0..=1"
"#;
    let bench = Bench::new("external-http", workers);
    let app = bench.start();
    let answer = Client::new().get(format!("{}/web/pages/7", app.url)).await;
    assert_eq!((answer.status, answer.json()), (200, json!({ "number": 7, "process": 1 })), "{answer:?}");
    let lines = arguments_with("--listen-4711=");
    let ports = lines.iter().flat_map(|line| line.split('\0')).filter_map(|word| word.split_once("4711="));
    let ports: Vec<u16> = ports.map(|(_, port)| port.parse().unwrap()).collect();
    assert!(!ports.is_empty() && ports.iter().all(|port| *port > 0), "{lines:?}");
}

#[test]
fn an_image_that_cannot_be_had_is_told_before_anything_is_served() {
    if !has_engine() {
        return;
    }
    let bench = Bench::new("external-missing", "");
    let refused = bench.refused("[workers.w]\nargs = [\"x\"]\n");
    for part in ["flash.toml:", "`args` requires `image`"] {
        assert!(refused.stderr.contains(part), "{refused:?}");
    }
    let refused = bench.refused("[workers.w]\nworkers = \"0..=1\"\n");
    assert!(refused.stderr.contains("`w` has nothing to run; set `command`"), "{refused:?}");

    // Nobody listens there.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let settings = format!("[workers.w]\nimage = \"{free}/me/app:1\"\n");
    let target = root().join("target");
    let own = std::fs::read_to_string(bench.elsewhere.path().join("flash.toml")).unwrap();
    std::fs::write(bench.directory.path().join("flash.toml"), format!("{own}{settings}")).unwrap();
    let environment = [("CARGO_TARGET_DIR", target.to_str().unwrap())];
    let failed = finish_with(&["run", "--port", "0"], bench.directory.path(), &environment);
    assert_eq!(failed.code, Some(1), "{failed:?}");
    for part in
        ["Pulling", "cannot pull the image", "me/app:1", "hint: check that its registry can be reached"]
    {
        assert!(failed.stderr.contains(part), "{part}: {failed:?}");
    }
}

#[tokio::test]
async fn an_image_is_deployed_to_this_machine_by_its_digest_and_a_wrong_one_is_told_first() {
    if !has_engine() || !has_programs(&["skopeo"]) {
        return;
    }
    let elsewhere = Project::new("");
    let (registry, name, digest) = in_a_registry(&elsewhere);
    let app = Deployed::new("");
    // A registry without TLS, and a store of its own.
    let insecure = app.config().join("registries.conf");
    std::fs::write(
        &insecure,
        format!("[[registry]]\nlocation = \"{}\"\ninsecure = true\n", registry.address),
    )
    .unwrap();
    let store = TempDir::new().unwrap();
    let storage = app.config().join("storage.conf");
    let place = |part: &str| store.path().join(part).display().to_string();
    let text = format!(
        "[storage]\ndriver = \"overlay\"\ngraphroot = \"{}\"\nrunroot = \"{}\"\n",
        place("root"),
        place("run")
    );
    std::fs::write(&storage, text).unwrap();
    let run = |arguments: &[&str]| {
        let mut command = app.command(arguments);
        command.env("CONTAINERS_REGISTRIES_CONF", &insecure).env("CONTAINERS_STORAGE_CONF", &storage);
        Finished::of(command.output().unwrap())
    };
    let made = run(&["deploy", "new", "production"]);
    assert_eq!(made.code, Some(0), "{made:?}");
    let environments = std::fs::read_to_string(app.path().join("flash.toml")).unwrap();
    let declare = |tag: &str| {
        let worker = format!("[workers.outside]\nimage = \"{name}:{tag}\"\nworkers = \"0..=1\"\n");
        std::fs::write(app.path().join("flash.toml"), format!("{environments}\n{worker}")).unwrap();
    };
    declare("2");
    let send = app.sending(&[]);
    let refused = run(&send);
    assert_eq!(refused.code, Some(2), "{refused:?}");
    for part in
        ["the image of worker type `outside`", "not found", "hint: correct `image` under [workers.outside]"]
    {
        assert!(refused.stderr.contains(part), "{part}: {refused:?}");
    }
    declare("1");
    let sent = run(&send);
    assert_eq!(sent.code, Some(0), "{sent:?}");
    assert!(sent.stderr.contains(&format!("{name}@{digest}")), "by its digest: {sent:?}");
    let client = Client::new();
    let request = client.raw().post(format!("{}/v2/outside/runsync", app.url())).bearer_auth(app.key());
    let job = client.send(request.json(&input_for("look", json!({})))).await.json();
    assert_eq!(
        (&job["output"]["directory"], &job["output"]["process"]),
        (&json!("/app"), &json!(1)),
        "{job}"
    );
    let removed = run(&["deploy", "remove", "production", "--yes"]);
    assert_eq!(removed.code, Some(0), "{removed:?}");
}
