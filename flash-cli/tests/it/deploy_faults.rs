//! What `flash deploy` and its companions say when something is wrong: each fault gives a non-zero exit, its cause
//! and what to do next, and nothing that looks like success. What was live goes on.
use std::{
    net::TcpListener,
    path::{Path, PathBuf},
    process::Stdio,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::{Value, json};

use crate::support::{
    self, Client, Finished, SOON, answers_pings_while,
    deployed::Deployed,
    skipped::{Needs, skip},
    small_disk::SmallDisk,
    until, wait_for,
};

/// A fault that is there already: the command ends with this code and says each of these, and what to do next.
#[track_caller]
fn refused(app: &Deployed, code: i32, arguments: &[&str], said: &[&str]) -> Finished {
    let finished = app.fails(code, arguments, said);
    // What to do, or what would have been right.
    let next = ["hint: ", "Usage:", "did you mean", "expected", "leave", "would have", "write ", "choose"];
    assert!(next.iter().any(|next| finished.stderr.contains(next)), "what next? {finished:#?}");
    assert!(!finished.stdout.contains("Live") && !finished.stderr.contains("is live"), "{finished:#?}");
    finished
}

/// Nothing was compiled and asked what it consists of before it was refused.
#[track_caller]
fn is_unbuilt(finished: &Finished) {
    let built = ["Compiling", "Compiled", "Described"].iter().any(|step| finished.stderr.contains(step));
    assert!(!built, "{finished:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_asked_wrongly_is_refused_with_what_to_ask_instead() {
    let (app, client) = (Deployed::live(""), Client::new());
    let url = app.url();
    // Environments.
    refused(&app, 2, &["deploy", "new", "production"], &["production"]);
    refused(&app, 2, &["deploy", "new", "No_Name"], &["`No_Name`"]);
    refused(&app, 2, &["deploy", "new"], &["deploy new production"]);
    refused(&app, 2, &["deploy", "send", "stagin", "--yes", "--release-profile", "dev"], &["stagin"]);
    refused(&app, 2, &["deploy", "info", "stagin"], &["stagin"]);
    refused(&app, 2, &["deploy", "remove", "stagin", "--yes"], &["stagin"]);
    refused(&app, 2, &["deploy", "remove", "production"], &["--yes"]);
    refused(&app, 2, &["status", "stagin"], &["stagin"]);
    for command in
        [&["status"][..], &["logs"], &["deploy", "info"], &["key", "list"], &["secret", "list"], &["cost"]]
    {
        let mistyped = [command, &["prodction"]].concat();
        refused(&app, 2, &mistyped, &["no environment `prodction`; did you mean `production`"]);
    }
    // Releases.
    refused(&app, 2, &["deploy", "rollback", "production", "--yes"], &["release"]);
    refused(&app, 2, &["deploy", "rollback", "production", "77", "--yes"], &["77"]);
    refused(&app, 2, &["undeploy", "production", "--worker", "greter", "--yes"], &["greter", "greeter"]);
    app.version("one", "two");
    let send = ["deploy", "send", "production", "--release-profile", "dev"];
    is_unbuilt(&refused(&app, 2, &send, &["--yes"]));
    is_unbuilt(&refused(&app, 2, &["deploy", "--env", "production"], &["--yes"]));
    let plan = app.run(&[&send[..], &["--save-plan", "/nowhere/plan.json"]].concat());
    assert!(plan.code == Some(1) && plan.stderr.contains("/nowhere"), "{plan:#?}");
    is_unbuilt(&plan);
    // Calls.
    refused(&app, 2, &["call", "production", "gret", "{}"], &["gret", "did you mean `greet`", "it has: "]);
    let example = "for example: flash call production greet '{\"name\":\"text\"}'";
    refused(&app, 2, &["call", "production", "greet", "{oops"], &["JSON", example]);
    refused(&app, 2, &["call", "production", "greet", "{}"], &["`name`", example]);
    refused(&app, 2, &["call", "production", "greet", "@/nowhere.json"], &["/nowhere.json"]);
    // Logs.
    refused(&app, 2, &["logs", "production", "-f", "--until", "1m"], &["--until"]);
    refused(&app, 2, &["logs", "production", "--search", "(open"], &["not a valid regular expression"]);
    refused(&app, 2, &["logs", "production", "--since", "sometimes"], &["sometimes"]);
    let mistyped = ["logs", "production", "--worker", "greter"];
    refused(&app, 2, &mistyped, &["did you mean `greeter`", "worker types: fragile, front, greeter, model"]);
    refused(&app, 2, &["logs", "production", "--worker", "greeter-00ff00", "-f"], &["greeter-00ff00"]);
    refused(&app, 2, &["logs", "production", "--release", "77"], &["no release 77", "the latest is 1"]);
    app.succeeds(&["logs", "production", "--worker", "fragile", "--stream", "stderr"]);
    // Keys and secrets.
    refused(&app, 2, &["key", "revoke", "production", "flash_nothing"], &["flash_nothing"]);
    refused(
        &app,
        2,
        &["secret", "set", "production", "not a name", "--from-file", "/dev/null"],
        &["not a name"],
    );
    refused(
        &app,
        2,
        &["secret", "set", "production", "FLASH_ROLE", "--from-file", "/dev/null"],
        &["FLASH_ROLE"],
    );
    refused(&app, 2, &["secret", "remove", "production", "ABSENT"], &["ABSENT"]);
    let told =
        refused(&app, 2, &["secret", "set", "production", "TOKEN", "hunter2"], &["stdin", "TOKEN < FILE"]);
    assert!(!told.stderr.contains("hunter2"), "{told:#?}");
    // Costs.
    refused(&app, 2, &["cost", "production", "--since", "soon"], &["soon"]);
    // After all that, the first release serves.
    let answer = app.get(&client, &format!("{url}/hello/ada")).await;
    assert_eq!((answer.status, answer.json()["version"].clone()), (200, json!("one")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_project_that_cannot_be_sent_changes_nothing() {
    let (app, client) = (Deployed::live(""), Client::new());
    let url = app.url();
    let project = std::fs::read_to_string(app.path().join("flash.toml")).unwrap();
    let with =
        |text: &str| std::fs::write(app.path().join("flash.toml"), format!("{text}\n{project}")).unwrap();
    let send = app.sending(&[]);

    // Each of these is known before a build: by the file alone, or by what the app was when it was last built.
    with("[run]\nprot = 1");
    is_unbuilt(&refused(&app, 2, &send, &["flash.toml:2", "prot", "port"]));
    let misspelt = format!("{project}\n[environments.production.workers.greter]\nworkers_max = 1\n");
    std::fs::write(app.path().join("flash.toml"), &misspelt).unwrap();
    is_unbuilt(&refused(&app, 2, &send, &["greter", "did you mean `greeter`"]));
    is_unbuilt(&app.fails(2, &["build", "--release-profile", "dev"], &["greter", "did you mean `greeter`"]));
    is_unbuilt(&app.fails(2, &["run", "--port", "0"], &["greter", "did you mean `greeter`"]));
    let swapped =
        format!("{project}\n[environments.production.workers.greeter]\nworkers_min = 3\nworkers_max = 1\n");
    std::fs::write(app.path().join("flash.toml"), swapped).unwrap();
    is_unbuilt(&refused(&app, 2, &send, &["flash.toml:", "workers"]));
    with("[build]\ninclude = [\"absent/*\"]");
    is_unbuilt(&refused(&app, 2, &send, &["absent/*"]));
    with("");
    is_unbuilt(&app.fails(2, &["build", "--worker", "greter"], &["greter", "did you mean `greeter`"]));
    is_unbuilt(&app.fails(
        1,
        &["build", "--push", "127.0.0.1:1/me/app"],
        &["cannot reach registry 127.0.0.1:1"],
    ));

    // After a change of the sources the name may be a new one: it is told at once, and the build decides.
    std::fs::write(app.path().join("flash.toml"), &misspelt).unwrap();
    app.version("one", "two");
    let finished = refused(&app, 2, &send, &["warning: ", "as of the last build", "did you mean `greeter`"]);
    let (warned, compiled) = (finished.stderr.find("warning: "), finished.stderr.find("Compiled "));
    assert!(warned.unwrap() < compiled.unwrap(), "{finished:#?}");
    app.version("two", "one");
    with("");
    app.edit("hello, {name}", "hello, {nobody}");
    let finished = app.run(&send);
    assert_eq!(finished.code, Some(1), "{finished:#?}");
    assert!(finished.stderr.contains("nobody") && finished.stderr.contains("the build of"), "{finished:#?}");
    app.edit("hello, {nobody}", "hello, {name}");

    let elsewhere = tempfile::TempDir::new().unwrap();
    let mut command = app.command(&["deploy", "send", "production", "--yes"]);
    let finished = Finished::of(command.current_dir(elsewhere.path()).output().unwrap());
    assert_eq!(finished.code, Some(2), "{finished:#?}");
    assert!(finished.stderr.contains("not inside a crate"), "{finished:#?}");

    let answer = app.get(&client, &format!("{url}/hello/ada")).await;
    assert_eq!((answer.status, answer.json()["version"].clone()), (200, json!("one")));
    let history = app.json(&["deploy", "history", "production"]);
    assert_eq!(history["releases"].as_array().unwrap().len(), 1, "{history}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_damaged_is_named() {
    let app = Deployed::live("");
    app.version("one", "two");
    app.send(&[]);

    // The artifact of the release to go back to.
    let history = app.json(&["deploy", "history", "production"]);
    let digest = history["releases"][1]["digest"].as_str().unwrap().to_owned();
    let artifacts = app.environment().join("artifacts");
    let directory = std::fs::read_dir(&artifacts)
        .unwrap()
        .flatten()
        .find(|entry| {
            digest.contains(entry.file_name().to_str().unwrap())
                || entry.file_name().to_str().unwrap().contains(&digest)
        })
        .unwrap();
    let binary = std::fs::read_dir(directory.path().join("bin")).unwrap().flatten().next().unwrap().path();
    let content = std::fs::read(&binary).unwrap();
    std::fs::remove_file(&binary).unwrap();
    std::fs::write(&binary, &content[..content.len() / 2]).unwrap();
    refused(&app, 1, &["deploy", "rollback", "production", "--yes"], &["artifact"]);
    assert_eq!(app.json(&["deploy", "info", "production"])["environment"]["live"]["number"], 2);

    // A plan that is none.
    let plan = app.data().join("plan.json");
    std::fs::write(&plan, "{").unwrap();
    refused(&app, 2, &app.sending(&["--plan-file", plan.to_str().unwrap()]), &["plan.json"]);
    refused(&app, 2, &app.sending(&["--plan-file", "/nowhere.json"]), &["/nowhere.json"]);

    // The user's credentials, gone and broken.
    let credentials = app.config().join("credentials.json");
    let kept = std::fs::read(&credentials).unwrap();
    std::fs::remove_file(&credentials).unwrap();
    refused(&app, 2, &["call", "production", "greet", r#"{"name":"ada"}"#], &["no key"]);
    std::fs::write(&credentials, "not JSON").unwrap();
    refused(&app, 2, &["call", "production", "greet", r#"{"name":"ada"}"#], &["credentials.json"]);
    std::fs::write(&credentials, kept).unwrap();

    // A key that opens nothing any more.
    let prefix = app.json(&["key", "list", "production"])["keys"][0]["prefix"].as_str().unwrap().to_owned();
    app.succeeds(&["key", "revoke", "production", &prefix]);
    refused(
        &app,
        1,
        &["call", "production", "greet", r#"{"name":"ada"}"#],
        &["rejected the key", "flash key new"],
    );

    // The database.
    app.succeeds(&["service", "stop"]);
    let database = app.data().join("flash.db");
    std::fs::write(&database, vec![b'x'; 8192]).unwrap();
    let finished = app.run(&["deploy", "info", "production"]);
    assert_eq!(finished.code, Some(1), "{finished:#?}");
    assert!(finished.stderr.contains("flash.db"), "{finished:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_place_that_cannot_be_used_is_named() {
    let app = Deployed::new("");
    let file = app.config().join("file");
    std::fs::write(&file, "").unwrap();
    let mut command = app.command(&["deploy", "new", "production"]);
    let finished = Finished::of(command.env("FLASH_DATA_DIR", &file).output().unwrap());
    assert_eq!(finished.code, Some(1), "{finished:#?}");
    assert!(finished.stderr.contains(file.to_str().unwrap()), "{finished:#?}");
    // A port that somebody has.
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let holder = format!("(process {})", std::process::id());
    refused(&app, 1, &["deploy", "new", "production", "--port", &port], &[&port, &holder]);
    assert_eq!(app.json(&["deploy", "list"])["environments"], json!([]), "nothing was made");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_was_taken_meanwhile_is_told_and_taken_back() {
    let (app, client) = (Deployed::live(""), Client::new());
    let url = app.url();
    app.succeeds(&["service", "stop"]);
    let taken = TcpListener::bind(url.trim_start_matches("http://")).unwrap();
    app.succeeds(&["service", "start"]);
    // At first it is starting.
    until("the port to be told", SOON, async || {
        let status = app.fails(1, &["status", "production"], &["release 1"]);
        if status.stderr.contains("in use by another program") { Ok(()) } else { Err(status.stderr) }
    })
    .await;
    drop(taken);
    until("the environment", SOON, async || {
        match client.raw().get(format!("{url}/hello/ada")).bearer_auth(app.key()).send().await {
            Ok(answer) if answer.status() == 200 => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_fills_up_while_sending_leaves_what_was_live() {
    let (app, client) = (Deployed::new(""), Client::new());
    let Some(disk) = SmallDisk::mount(app.data(), 400) else {
        skip(Needs::Mounts, "no file system can be mounted here");
        return;
    };
    app.succeeds(&["deploy", "new", "production"]);
    app.send(&[]);
    let url = app.url();
    app.version("one", "two");
    disk.fill_but(4_000_000);
    refused(&app, 1, &app.sending(&[]), &["No space left"]);
    let answer = app.get(&client, &format!("{url}/hello/ada")).await;
    assert_eq!((answer.status, answer.json()["version"].clone()), (200, json!("one")));
    disk.empty();
    app.send(&[]);
    let answer = app.get(&client, &format!("{url}/hello/ada")).await;
    assert_eq!(answer.json()["version"], "two");
    // The service first: the disk is under it.
    app.succeeds(&["service", "stop"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_under_the_logs_costs_lines_and_neither_workers_nor_answers() {
    let (app, client) = (Deployed::new(""), Client::new());
    app.succeeds(&["deploy", "new", "production"]);
    let Some(disk) = SmallDisk::mount(&app.environment().join("logs"), 60) else {
        skip(Needs::Mounts, "no file system can be mounted here");
        return;
    };
    // The next command brings it back: it opens its logs there.
    app.succeeds(&["service", "stop"]);
    app.send(&[]);
    let url = app.url();
    let call = async |function: &str, input: Value| {
        let request = client.raw().post(format!("{url}/main/{function}/run_sync")).bearer_auth(app.key());
        let answer = client.send(request.json(&input)).await;
        assert_eq!(answer.status, 200, "{answer:?}");
    };
    let greet = async || call("greet", json!({ "name": "ada" })).await;
    greet().await;
    let workers = support::descendants(app.service());
    disk.fill_but(0);
    // Somewhat more than waits for a disk, on the pipe of the worker itself.
    let script = "yes $(head -c 60000 /dev/zero | tr '\\0' x) | head -n 600 > /proc/$PPID/fd/2";
    answers_pings_while(&client, &url, call("script", json!({ "script": script }))).await;
    greet().await;
    for worker in &workers {
        assert!(support::is_alive(*worker), "{worker} of {workers:?} has ended");
    }
    disk.empty();
    until("the word on what was lost", SOON, async || {
        // A line more, so that something is written.
        greet().await;
        let lines = app.logs(&["--since", "1h"]);
        let is_told =
            |line: &Value| line["text"].as_str().is_some_and(|text| text.contains(" lines were lost: "));
        if lines.iter().any(is_told) { Ok(()) } else { Err(format!("{} lines", lines.len())) }
    })
    .await;
    // The service first: the disk is under it.
    app.succeeds(&["service", "stop"]);
}

/// Kills the service when the sender says `moment`, and what the next command finds.
async fn killed_at(moment: &str) {
    let (app, client) = (Deployed::live(""), Client::new());
    let (url, service) = (app.url(), app.service());
    app.version("one", "two");
    let mut sender =
        app.command(&app.sending(&[])).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stderr = std::io::BufReader::new(sender.stderr.take().unwrap());
    let mut said = String::new();
    while !said.contains(moment) {
        if std::io::BufRead::read_line(&mut stderr, &mut said).unwrap() == 0 {
            panic!("`{moment}` was not said: {said}");
        }
    }
    let _ = kill(Pid::from_raw(service), Signal::SIGKILL);
    let mut rest = String::new();
    std::io::Read::read_to_string(&mut stderr, &mut rest).unwrap();
    let status = sender.wait().unwrap();
    // The next command brings the service back, with one of the two, whole.
    let history = app.json(&["deploy", "history", "production"]);
    let live: Vec<_> = history["releases"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|own| own["state"]["state"] == "live")
        .collect();
    assert_eq!(live.len(), 1, "{history}\n{said}{rest}");
    let expected = if live[0]["number"] == 1 { "one" } else { "two" };
    assert!(expected == "two" || !status.success(), "it said that it is live: {said}{rest}");
    until("the environment", SOON, async || {
        match client.raw().get(format!("{url}/hello/ada")).bearer_auth(app.key()).send().await {
            Ok(answer) if answer.status() == 200 => {
                let text = answer.text().await.unwrap_or_default();
                if text.contains(expected) { Ok(()) } else { Err(text) }
            }
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    // And the command again.
    app.send(&[]);
    let answer = app.get(&client, &format!("{url}/hello/ada")).await;
    assert_eq!(answer.json()["version"], "two");
    let descendants = support::descendants(app.service());
    assert!(!descendants.is_empty());
    app.succeeds(&["service", "stop"]);
    wait_for("the end of all workers", SOON, || {
        match descendants.iter().find(|id| support::is_alive(**id)) {
            None => Ok(()),
            Some(id) => Err(format!("{id} lives")),
        }
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_killed_while_a_build_is_compiled_is_brought_back_by_the_send() {
    killed_at("Compil").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_killed_while_files_are_sent_leaves_one_whole_release() {
    killed_at("Sent").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_killed_while_workers_start_leaves_one_whole_release() {
    killed_at("Start").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_killed_when_traffic_moves_leaves_one_whole_release() {
    killed_at("Ready").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_one_of_two_sends_changes_an_environment() {
    let app = Deployed::live("");
    app.version("one", "two");
    let plan = app.data().join("plan.json");
    let saved = app.run(&app.sending(&["--plan", "--save-plan", plan.to_str().unwrap()]));
    assert_eq!(saved.code, Some(2), "{saved:#?}");
    let arguments = app.sending(&["--plan-file", plan.to_str().unwrap()]);
    let senders: Vec<_> = (0..2)
        .map(|_| app.command(&arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap())
        .collect();
    let ends: Vec<Finished> =
        senders.into_iter().map(|sender| Finished::of(sender.wait_with_output().unwrap())).collect();
    let well = ends.iter().filter(|end| end.code == Some(0)).count();
    assert_eq!(well, 1, "{ends:#?}");
    let history = app.json(&["deploy", "history", "production"]);
    assert_eq!(history["releases"].as_array().unwrap().len(), 2, "{history}");
}

/// Every file below a directory.
fn files(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => found.extend(files(&entry.path())),
            Ok(kind) if kind.is_file() => found.push(entry.path()),
            _ => {}
        }
    }
    found
}

fn holds(content: &[u8], canary: &str) -> bool {
    content.windows(canary.len()).any(|part| part == canary.as_bytes())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_and_a_secret_are_found_nowhere_but_where_they_belong() {
    let (app, client) = (Deployed::new(""), Client::new());
    app.succeeds(&["deploy", "new", "production"]);
    let secret = format!("canary-{}", uuid::Uuid::new_v4().simple());
    let file = app.config().join("value");
    std::fs::write(&file, &secret).unwrap();
    app.succeeds(&["secret", "set", "production", "API_TOKEN", "--from-file", file.to_str().unwrap()]);
    std::fs::remove_file(&file).unwrap();
    app.send(&[]);
    let (key, url) = (app.key(), app.url());

    // What goes well, what fails, what is refused and what kills its worker, each with the key.
    let ask = async |path: &str, body: &str| {
        let request = client.raw().post(format!("{url}{path}")).bearer_auth(&key);
        client.send(request.header("content-type", "application/json").body(body.to_owned())).await
    };
    let mut said = vec![app.get(&client, &format!("{url}/hello/ada")).await.text];
    for (path, body) in [
        ("/main/greet/run_sync", r#"{"name":"ada"}"#),
        ("/main/greet/run_sync", r#"{"nam":1}"#),
        ("/main/gree/run_sync", "{"),
        ("/main/crash/run_sync", r#"{"words":"last"}"#),
        ("/v2/greeter/status/nothing", "{}"),
    ] {
        said.push(ask(path, body).await.text);
    }
    let mut commands = Vec::new();
    for arguments in [
        &["logs", "production", "--json"][..],
        &["logs", "production"],
        &["status", "production", "--json"],
        &["deploy", "info", "production", "--json"],
        &["deploy", "history", "production", "--json"],
        &["key", "list", "production", "--json"],
        &["secret", "list", "production", "--json"],
        &["service", "status", "--json"],
        &["call", "production", "crash", r#"{"words":"last"}"#],
        &["deploy", "send", "production", "--release-profile", "dev", "--plan"],
    ] {
        let finished = app.run(arguments);
        commands.push((arguments, format!("{finished:?}")));
    }

    let ours = |canary: &str, place: &str, content: &[u8]| {
        assert!(!holds(content, canary), "{place} holds {canary}")
    };
    for canary in [key.as_str(), secret.as_str()] {
        for answer in &said {
            ours(canary, "an answer", answer.as_bytes());
        }
        for (arguments, finished) in &commands {
            ours(canary, &format!("what flash {arguments:?} prints"), finished.as_bytes());
        }
        // Databases, jobs, logs, artifacts and the service's own log.
        for file in files(app.data()) {
            ours(canary, &file.display().to_string(), &std::fs::read(&file).unwrap_or_default());
        }
        for process in std::fs::read_dir("/proc").unwrap().flatten() {
            let line = std::fs::read(process.path().join("cmdline")).unwrap_or_default();
            ours(canary, "a command line", &line);
        }
    }
    // Workers have the secret, and never the key.
    let mut with_secret = 0;
    for process in std::fs::read_dir("/proc").unwrap().flatten() {
        let environment = std::fs::read(process.path().join("environ")).unwrap_or_default();
        with_secret += usize::from(holds(&environment, &secret));
        assert!(!holds(&environment, &key), "{} has the key", process.path().display());
    }
    assert!(with_secret > 0, "no worker has the secret: this test looks in the wrong place");
}
