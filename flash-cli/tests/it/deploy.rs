//! `flash deploy` and its companions as their user sees them, through the real binary: a real service, real
//! workers, a data directory and credentials of each test's own.
mod printed;

use std::{
    os::unix::fs::PermissionsExt as _,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use serde_json::{Value, json};

use crate::support::{
    self, Client, SOON,
    deployed::{APP, Deployed},
    receiver::Receiver,
    until,
};

/// The version that answers on the route.
async fn version(app: &Deployed, client: &Client, url: &str) -> String {
    let answer = app.get(client, &format!("{url}/hello/ada")).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()["version"].as_str().unwrap().to_owned()
}

#[test]
fn an_environment_on_runpod_is_refused_where_it_makes_no_sense_before_anything_is_asked() {
    let app = Deployed::new("");
    let before = std::fs::read_to_string(app.path().join("flash.toml")).unwrap();
    let runpod = ["deploy", "new", "cloud", "--target", "runpod"];
    let fails = |more: &[&str], said: &[&str]| app.fails(2, &[&runpod[..], more].concat(), said);
    fails(&[], &["needs a registry", "--registry ghcr.io/YOU/APP"]);
    fails(
        &["--registry", "ghcr.io/me/app", "--port", "9001"],
        &["--listen and --port are for --target local"],
    );
    fails(&["--registry", "ghcr.io/Me/app"], &["is not a valid image name"]);
    fails(&["--registry", "ghcr.io/me/app:v1"], &["has a tag"]);
    let local = ["deploy", "new", "a", "--registry", "ghcr.io/me/app"];
    app.fails(2, &local, &["--registry is for --target runpod"]);
    assert_eq!(std::fs::read_to_string(app.path().join("flash.toml")).unwrap(), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_whole_story_of_an_environment() {
    let (app, client) = (Deployed::new("[build]\ninclude = [\"model\"]\n"), Client::new());

    // New: the key is shown once, kept for the user, and the project file has the environment.
    let created = app.succeeds(&["deploy", "new", "production"]);
    let key = app.key();
    assert!(created.stdout.contains(&key), "{created:#?}");
    let settings = std::fs::read_to_string(app.path().join("flash.toml")).unwrap();
    assert!(settings.contains("[environments.production]"), "{settings}");
    assert!(settings.starts_with("[build]\ninclude"), "what was there stays: {settings}");
    for file in ["credentials.json", "headers/deployed-app/production"] {
        let mode = std::fs::metadata(app.config().join(file)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{file}");
    }

    // A plan changes nothing and says so by its code.
    let planned = app.run(&["deploy", "send", "production", "--release-profile", "dev", "--plan"]);
    assert_eq!(planned.code, Some(2), "{planned:#?}");
    assert!(planned.stdout.contains("greeter") && planned.stdout.contains("front"), "{planned:#?}");
    assert_eq!(app.json(&["deploy", "history", "production"])["releases"], json!([]));

    // Send: then it answers, by the printed curl as it is.
    let sent = app.send(&["--release-notes", "the first"]);
    let curl = sent
        .stdout
        .lines()
        .find_map(|line| line.find("curl").map(|at| &line[at..]).filter(|curl| curl.contains("/hello/")));
    let curl = curl.unwrap_or_else(|| panic!("no curl of the route: {sent:#?}"));
    assert!(!sent.stdout.contains(&key) && !sent.stderr.contains(&key), "the key is shown once");
    let answer = Command::new("sh").args(["-c", &format!("{curl} -sS")]).output().unwrap();
    let answer: Value =
        serde_json::from_slice(&answer.stdout).unwrap_or_else(|error| panic!("{error}: {answer:?}"));
    assert_eq!(answer["version"], "one");
    let url = app.url();

    // Nothing changed: nothing is sent.
    let again = app.run(&["deploy", "send", "production", "--release-profile", "dev", "--plan"]);
    assert_eq!(again.code, Some(0), "{again:#?}");
    app.send(&[]);
    assert_eq!(app.json(&["deploy", "history", "production"])["releases"].as_array().unwrap().len(), 1);

    // Call.
    let called = app.json(&["call", "production", "greet", r#"{"name": "ada"}"#]);
    assert_eq!(called["output"]["text"], "hello, ada");
    let request = called["request_id"].as_str().unwrap().to_owned();
    let wrong = app.fails(2, &["call", "production", "greet", r#"{"nome": 1}"#], &["name"]);
    assert_eq!(wrong.stdout, "");
    let streamed = app.succeeds(&["call", "production", "count", r#"{"to": 3}"#, "--stream"]);
    assert_eq!(streamed.stdout, "1\n2\n3\n");

    // What routes take and answer beside JSON.
    let post = |path: &str, kind: &str, body: &'static [u8]| {
        let request = client.raw().post(format!("{url}{path}")).bearer_auth(&key);
        client.send(request.header("user-agent", "form/1").header("content-type", kind).body(body))
    };
    let form = b"--x\r\ncontent-disposition: form-data; name=\"title\"\r\n\r\nA cat\r\n--x\r\n\
                 content-disposition: form-data; name=\"photo\"; filename=\"cat.jpg\"\r\n\r\n\x00\xff\x00\r\n--x--\r\n";
    let added = post("/photos", "multipart/form-data; boundary=x", form).await;
    assert_eq!((added.status, added.json()), (200, json!("form/1: A cat, 3 bytes")), "{added:?}");
    let answer = post("/hook", "application/json", b"{ not JSON").await;
    assert_eq!((answer.status, answer.header("x-method")), (202, "POST"), "{answer:?}");
    assert_eq!(answer.text, "{ not JSON");

    // Logs of that request: its own line and the end of its job.
    let lines = app.logs(&["--request", &request]);
    let texts: Vec<&str> = lines.iter().map(|line| line["text"].as_str().unwrap()).collect();
    assert!(texts.iter().any(|text| text.contains("greeting ada")), "{texts:?}");
    assert!(texts.iter().any(|text| text.contains("greet COMPLETED")), "{texts:?}");
    assert!(lines.iter().all(|line| line["release"] == 1), "{lines:#?}");

    // Change, plan, send: the new one serves.
    app.version("one", "two");
    let planned = app.run(&["deploy", "send", "production", "--release-profile", "dev", "--plan"]);
    assert_eq!(planned.code, Some(2), "{planned:#?}");
    app.send(&[]);
    assert_eq!(version(&app, &client, &url).await, "two");
    let history = app.json(&["deploy", "history", "production"]);
    let numbers: Vec<u64> =
        history["releases"].as_array().unwrap().iter().map(|own| own["number"].as_u64().unwrap()).collect();
    assert_eq!(numbers, [2, 1]);
    assert_eq!(history["releases"][1]["notes"], "the first");

    // Back: a release of its own, in no time.
    app.succeeds(&["deploy", "rollback", "production", "--yes"]);
    assert_eq!(version(&app, &client, &url).await, "one");
    let history = app.json(&["deploy", "history", "production"]);
    assert_eq!(
        (&history["releases"][0]["number"], &history["releases"][0]["rollback_of"]),
        (&json!(3), &json!(1))
    );

    // What it cost, and what it does.
    let status = app.json(&["status", "production"]);
    let names: Vec<&str> =
        status["workers"].as_array().unwrap().iter().map(|own| own["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["fragile", "front", "greeter", "model"]);
    until("costs", SOON, async || {
        let costs = app.json(&["cost", "production"]);
        match costs.to_string().contains("greeter") {
            true => Ok(()),
            false => Err(costs.to_string()),
        }
    })
    .await;

    // Under its other names.
    assert_eq!(app.json(&["history", "production"]), history);

    // Gone.
    app.fails(2, &["deploy", "remove", "production"], &["--yes"]);
    app.succeeds(&["remove", "production", "--yes"]);
    assert!(!app.environment().exists());
    app.fails(2, &["deploy", "info", "production"], &["production"]);
    let settings = std::fs::read_to_string(app.path().join("flash.toml")).unwrap();
    assert!(!settings.contains("production"), "{settings}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_build_that_never_becomes_ready_is_undone_and_the_old_one_serves() {
    let (app, client) = (Deployed::live(""), Client::new());
    let url = app.url();
    app.version("one", "broken");
    let arguments = app.sending(&[]);
    app.fails(1, &arguments, &["`model`", "there is no model in this build", "flash logs production"]);
    assert_eq!(version(&app, &client, &url).await, "one");
    let history = app.json(&["deploy", "history", "production"]);
    assert_eq!(
        (&history["releases"][0]["state"]["state"], &history["releases"][1]["state"]["state"]),
        (&json!("failed"), &json!("live"))
    );
    let refused = app.fails(2, &["rollback", "production", "2", "--yes"], &["release 2 was never live"]);
    assert_eq!(refused.stdout, "", "no plan of it is shown");
    let lines = app.logs(&["--since", "1h"]);
    let strangers: Vec<_> =
        lines.iter().filter(|line| line["text"].as_str().unwrap().contains("401")).collect();
    assert!(strangers.is_empty(), "workers that were torn down are no errors: {strangers:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn sixty_four_clients_lose_nothing_to_a_send_and_a_rollback() {
    let (app, client) = (Deployed::live(""), Client::new());
    let (url, key) = (app.url(), app.key());
    let (ended, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let clients: Vec<_> = (0..64)
        .map(|number| {
            let (client, url, key) = (client.clone(), url.clone(), key.clone());
            let (ended, answered) = (ended.clone(), answered.clone());
            tokio::spawn(async move {
                let mut wrong = Vec::new();
                while !ended.load(Ordering::Relaxed) {
                    // A route that calls a queue function, or a job by the queue's own API.
                    let request = match number % 2 {
                        0 => client.raw().get(format!("{url}/hello/ada")),
                        _ => client
                            .raw()
                            .post(format!("{url}/main/run_sync"))
                            .header("content-type", "application/json")
                            .body(r#"{"name":"ada"}"#),
                    };
                    match request.bearer_auth(&key).send().await {
                        Ok(answer) if answer.status() == 200 => {
                            let text = answer.text().await.unwrap_or_default();
                            if !text.contains("hello, ada") {
                                wrong.push(text);
                            }
                            answered.fetch_add(1, Ordering::Relaxed);
                        }
                        Ok(answer) => wrong.push(format!(
                            "{}: {}",
                            answer.status(),
                            answer.text().await.unwrap_or_default()
                        )),
                        Err(error) => wrong.push(format!("{error:?}")),
                    }
                }
                wrong
            })
        })
        .collect();
    app.version("one", "two");
    let app = tokio::task::spawn_blocking(move || {
        app.send(&[]);
        app.succeeds(&["deploy", "rollback", "production", "--yes"]);
        app
    })
    .await
    .unwrap();
    assert_eq!(version(&app, &client, &url).await, "one");
    ended.store(true, Ordering::Relaxed);
    for client in clients {
        let wrong = client.await.unwrap();
        assert!(
            wrong.is_empty(),
            "{} of {}: {:?}",
            wrong.len(),
            answered.load(Ordering::Relaxed),
            &wrong[..wrong.len().min(3)]
        );
    }
    assert!(answered.load(Ordering::Relaxed) > 64, "{answered:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_runs_on_the_release_that_accepted_it() {
    let (app, client) = (Deployed::live(""), Client::new());
    let (url, key) = (app.url(), app.key());
    let run = client.raw().post(format!("{url}/main/linger/runsync")).bearer_auth(&key);
    let directory = tempfile::tempdir().unwrap();
    let end = directory.path().join("end");
    let body = json!({ "input": { "until": end } }).to_string();
    let run = run.header("content-type", "application/json").body(body);
    let lingering: Vec<_> = (0..4).map(|_| run.try_clone().unwrap()).collect();
    let client_of_jobs = client.clone();
    let jobs = tokio::spawn(async move {
        futures_util::future::join_all(lingering.into_iter().map(|request| client_of_jobs.send(request)))
            .await
    });
    // All are in before the new release comes.
    until("four jobs", SOON, async || {
        let status = app.json(&["status", "production"]);
        let greeter = status["workers"]
            .as_array()
            .unwrap()
            .iter()
            .find(|own| own["name"] == "greeter")
            .unwrap()
            .clone();
        let open = greeter["waiting"].as_u64().unwrap() + greeter["running"].as_u64().unwrap();
        if open == 4 { Ok(()) } else { Err(greeter.to_string()) }
    })
    .await;
    app.version("one", "two");
    let app = tokio::task::spawn_blocking(move || {
        app.send(&[]);
        app
    })
    .await
    .unwrap();
    assert_eq!(version(&app, &client, &url).await, "two");
    std::fs::write(&end, "").unwrap();
    for job in jobs.await.unwrap() {
        assert_eq!(job.json()["output"], "one", "{job:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_taken_away_is_called_breaking_and_is_gone_after_it() {
    let (app, client) = (Deployed::live(""), Client::new());
    let (url, key) = (app.url(), app.key());
    app.edit("pub async fn greet(name: String)", "pub async fn greet(name: String, title: String)");
    app.edit("tracing::info!(\"greeting {name}\");", "tracing::info!(\"greeting {title} {name}\");");
    app.edit("greet(name).await", "greet(name, String::new()).await");
    app.edit("greet(\"main\".to_owned()).await?", "greet(\"main\".to_owned(), String::new()).await?");
    app.edit(
        "#[remote(worker = \"fragile\", cpu = Cpu3c_1_2, workers = 0..=1, idle_timeout = 60)]\n",
        "#[allow(dead_code)]\n",
    );
    let arguments = app.sending(&[]);
    let refused = app.fails(2, &arguments, &["this would break callers", "--allow-breaking"]);
    assert!(format!("{}{}", refused.stdout, refused.stderr).contains("title"), "{refused:#?}");
    assert_eq!(version(&app, &client, &url).await, "one");
    app.send(&["--allow-breaking"]);
    let gone = client.raw().post(format!("{url}/v2/fragile/run")).bearer_auth(&key).body("{\"input\":{}}");
    assert_eq!(client.send(gone).await.status, 404);
    // Going back breaks callers as sending does.
    app.succeeds(&["rollback", "production", "1", "--yes", "--allow-breaking"]);
    let back = ["rollback", "production", "2", "--yes"];
    let refused = app.fails(2, &back, &["this would break callers", "--allow-breaking"]);
    assert!(refused.stdout.contains("fragile"), "{refused:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_that_the_world_has_left_behind_is_refused() {
    let app = Deployed::live("");
    let plan = app.data().join("plan.json");
    let plan = plan.to_str().unwrap();
    app.version("one", "two");
    let saved = app.run(&app.sending(&["--plan", "--save-plan", plan]));
    assert_eq!(saved.code, Some(2), "{saved:#?}");
    // The code is another than was planned.
    app.version("two", "three");
    app.fails(
        1,
        &app.sending(&["--plan-file", plan]),
        &["plan is stale", "flash deploy send production --save-plan"],
    );
    // The environment is another than was planned.
    app.send(&[]);
    app.version("three", "two");
    app.fails(1, &app.sending(&["--plan-file", plan]), &["release"]);
    // As planned.
    let saved = app.run(&app.sending(&["--plan", "--save-plan", plan]));
    assert_eq!(saved.code, Some(2), "{saved:#?}");
    app.send(&["--plan-file", plan]);
}

#[tokio::test(flavor = "multi_thread")]
async fn environments_stand_side_by_side_and_their_keys_open_their_own() {
    let (app, client) = (Deployed::live(""), Client::new());
    app.succeeds(&["deploy", "new", "staging"]);
    app.version("one", "two");
    app.succeeds(&["deploy", "send", "staging", "--release-profile", "dev", "--yes"]);
    let url =
        |name: &str| app.json(&["deploy", "info", name])["environment"]["url"].as_str().unwrap().to_owned();
    let (production, staging) = (url("production"), url("staging"));
    assert_ne!(production, staging);
    assert_eq!(version(&app, &client, &production).await, "one");

    let ask = async |url: &str, key: Option<&str>| {
        let request = client.raw().get(format!("{url}/hello/ada"));
        let request = match key {
            Some(key) => request.bearer_auth(key),
            None => request,
        };
        client.send(request).await.status
    };
    let key = app.key();
    assert_eq!(ask(&production, None).await, 401);
    assert_eq!(ask(&production, Some("flash_wrong")).await, 401);
    assert_eq!(ask(&production, Some(&key)).await, 200);
    assert_eq!(ask(&staging, Some(&key)).await, 403);

    // One more key, and then not any more.
    let second = app.json(&["key", "new", "production", "--label", "second"]);
    let (second, prefix) =
        (second["key"].as_str().unwrap().to_owned(), second["entry"]["prefix"].as_str().unwrap().to_owned());
    assert_eq!(ask(&production, Some(&second)).await, 200);
    let listed = app.succeeds(&["key", "list", "production"]);
    assert!(listed.stdout.contains(&prefix) && !listed.stdout.contains(&second), "{listed:#?}");
    app.succeeds(&["key", "revoke", "production", &prefix]);
    assert_eq!(ask(&production, Some(&second)).await, 401);
    assert_eq!(ask(&production, Some(&key)).await, 200, "the others still open");

    // The key is nowhere on the disk but with its user.
    for entry in walk(app.data()) {
        let content = std::fs::read(&entry).unwrap_or_default();
        let found = content.windows(key.len()).any(|part| part == key.as_bytes());
        assert!(!found, "{} holds the key", entry.display());
    }
}

fn walk(directory: &std::path::Path) -> Vec<std::path::PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => files.extend(walk(&entry.path())),
            Ok(kind) if kind.is_file() => files.push(entry.path()),
            _ => {}
        }
    }
    files
}

#[tokio::test(flavor = "multi_thread")]
async fn variables_and_secrets_reach_workers_and_nothing_else() {
    let app = Deployed::new("");
    std::fs::write(app.path().join(".env"), "FROM_DOTENV=never-shipped\n").unwrap();
    app.succeeds(&["deploy", "new", "production"]);
    let settings = std::fs::read_to_string(app.path().join("flash.toml")).unwrap();
    std::fs::write(
        app.path().join("flash.toml"),
        settings + "\n[environments.production.variables]\nMODE = \"plain\"\n",
    )
    .unwrap();
    let value = "the-secret-value-of-this-test";
    let file = app.data().join("value");
    std::fs::write(&file, value).unwrap();
    app.succeeds(&["secret", "set", "production", "API_TOKEN", "--from-file", file.to_str().unwrap()]);
    std::fs::remove_file(&file).unwrap();
    let sent = app.send(&[]);
    let variable = |name: &str| {
        app.json(&["call", "production", "variable", &json!({ "name": name }).to_string()])["output"].clone()
    };
    assert_eq!(
        (variable("MODE"), variable("API_TOKEN"), variable("FROM_DOTENV")),
        (json!("plain"), json!(value), Value::Null)
    );
    let listed = app.succeeds(&["secret", "list", "production", "--json"]);
    assert!(listed.stdout.contains("API_TOKEN") && !listed.stdout.contains(value), "{listed:#?}");
    assert!(!format!("{sent:?}").contains(value));
    let info = app.succeeds(&["deploy", "info", "production", "--json"]);
    assert!(!info.stdout.contains(value), "{info:#?}");
    for entry in walk(app.data()) {
        // The result of the call above is a job's result, which the caller asked for.
        if entry.components().any(|part| part.as_os_str() == "jobs") {
            continue;
        }
        let content = std::fs::read(&entry).unwrap_or_default();
        let found = content.windows(value.len()).any(|part| part == value.as_bytes());
        assert!(!found, "{} holds the secret", entry.display());
    }
    app.succeeds(&["secret", "remove", "production", "API_TOKEN"]);
    app.send(&[]);
    assert_eq!(variable("API_TOKEN"), Value::Null);
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_crash_of_the_service_everything_is_as_it_was() {
    let (app, client) = (Deployed::live(""), Client::new());
    app.version("one", "two");
    app.send(&[]);
    let (url, key) = (app.url(), app.key());
    let job = app.json(&["call", "production", "greet", r#"{"name": "ada"}"#, "--async"]);
    let job = job["id"].as_str().unwrap().to_owned();
    app.crash_service();
    // The next command brings it back.
    let history = app.json(&["deploy", "history", "production"]);
    assert_eq!(history["releases"][0]["number"], 2);
    assert_eq!(app.url(), url, "the port stays");
    until("the release", SOON, async || {
        match client.raw().get(format!("{url}/hello/ada")).bearer_auth(&key).send().await {
            Ok(answer) if answer.status() == 200 => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    assert_eq!(version(&app, &client, &url).await, "two");
    until("the job's end", SOON, async || {
        let job = app.get(&client, &format!("{url}/v2/greeter/status/{job}")).await;
        if job.json()["status"] == "COMPLETED" { Ok(()) } else { Err(format!("{job:?}")) }
    })
    .await;
    // What was before can still be gone back to.
    app.succeeds(&["deploy", "rollback", "production", "--yes"]);
    assert_eq!(version(&app, &client, &url).await, "one");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_reaches_neither_the_files_of_its_service_nor_its_control() {
    let app = Deployed::live("");
    let (data, service) = (app.data().canonicalize().unwrap(), app.service());
    let data = data.display();
    let script = format!(
        r#"
        cd {data}
        for file in flash.db control.key secret.key environments/{APP}/production/webhook_secret /proc/{service}/root/etc/passwd
        do head -c 1 "$file" >/dev/null 2>&1 && echo "reads $file"
        done
        touch new 2>/dev/null && echo "writes"
        rm -f flash.db 2>/dev/null && echo "removes"
        echo own >"$OLDPWD/own" && cat "$OLDPWD/own" /etc/passwd /proc/self/environ >/dev/null && echo "works"
        "#
    );
    let called = app.json(&["call", "production", "script", &json!({ "script": script }).to_string()]);
    let said = std::fs::read_to_string(app.data().join("service.log")).unwrap();
    if !said.contains("are not protected from workers") {
        assert_eq!(called["output"], "works\n", "{called}");
    }
    // Its socket is in reach of every process of this user; without the key nothing is answered.
    let curl = [
        "-s",
        "-o",
        "/dev/null",
        "-w",
        "%{http_code}",
        "-H",
        "content-type: application/json",
        "-d",
        "\"Service\"",
    ];
    let asked = Command::new("curl")
        .args(curl)
        .arg("--unix-socket")
        .arg(app.data().join("service.sock"))
        .arg("http://flash/ask")
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&asked.stdout), "401", "{asked:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_of_a_worker_that_crashed_has_its_last_words() {
    let app = Deployed::live("");
    let failed = app.fails(
        1,
        &["call", "production", "crash", r#"{"words": "these are my last words"}"#],
        &["flash logs production --request"],
    );
    let lines = app.logs(&["--worker", "fragile", "--stream", "stderr"]);
    assert!(lines.iter().any(|line| line["text"] == "these are my last words"), "{lines:#?}\n{failed:#?}");
    let request =
        failed.stderr.split("--request ").nth(1).and_then(|rest| rest.split_whitespace().next()).unwrap();
    let lines = app.logs(&["--request", request]);
    assert!(lines.iter().any(|line| line["text"] == "these are my last words"), "{lines:#?}");
    let status = app.json(&["status", "production"]);
    let fragile =
        status["workers"].as_array().unwrap().iter().find(|own| own["name"] == "fragile").unwrap().clone();
    assert!(!fragile["last_errors"].as_array().unwrap().is_empty(), "{fragile}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_or_all_can_be_taken_out_and_sent_again() {
    let (app, client) = (Deployed::live(""), Client::new());
    let (url, key) = (app.url(), app.key());
    app.succeeds(&["undeploy", "production", "--worker", "model", "--yes"]);
    let health = async |worker: &str| app.get(&client, &format!("{url}/v2/{worker}/health")).await.status;
    assert_eq!((health("model").await, health("greeter").await), (404, 200));
    app.succeeds(&["undeploy", "production", "--yes"]);
    let answer = client.send(client.raw().get(format!("{url}/hello/ada")).bearer_auth(&key)).await;
    assert_eq!(answer.status, 503, "{answer:?}");
    app.send(&[]);
    assert_eq!(version(&app, &client, &url).await, "one");
    assert_eq!(health("model").await, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_apps_own_main_calls_what_is_deployed() {
    let app = Deployed::live("");
    app.version("one", "local");
    let run = |environment: &[(&str, &str)]| {
        let mut command = support::cargo(&["run", "--quiet"]);
        command
            .current_dir(app.path())
            .env("FLASH_CONFIG_DIR", app.config())
            .env_remove("FLASH_ENV")
            .envs(environment.iter().copied());
        let output = command.output().unwrap();
        (
            String::from_utf8_lossy(&output.stdout).trim().to_owned(),
            String::from_utf8_lossy(&output.stderr).into_owned(),
        )
    };
    assert_eq!(run(&[]).0, "hello, main local", "in process");
    let (deployed, said) = run(&[("FLASH_ENV", "production")]);
    assert_eq!(deployed, "hello, main one", "{said}");
    let (_, said) = run(&[("FLASH_ENV", "staging")]);
    assert!(said.contains("staging") && said.contains("flash deploy"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn webhooks_of_a_deployment_reach_private_addresses_only_where_its_settings_say_so() {
    let (app, client, receiver) = (Deployed::live(""), Client::new(), Receiver::start().await);
    let (url, key) = (app.url(), app.key());
    let submit = async || {
        let body = json!({ "input": { "__flash": { "function": "greet" }, "name": "ada" }, "webhook": receiver.url });
        let job = client.raw().post(format!("{url}/v2/greeter/run")).bearer_auth(&key);
        let answer = client.send(job.json(&body)).await;
        if answer.status == 200 { Ok(()) } else { Err(format!("{answer:?}")) }
    };
    submit().await.unwrap();
    until("the refusal in the log", SOON, async || {
        let lines = app.logs(&["--search", "webhook of job"]);
        let said = lines
            .iter()
            .find(|line| line["text"].as_str().unwrap().contains("127.0.0.1 is not a public address"));
        said.map(|_| ()).ok_or_else(|| format!("{lines:#?}"))
    })
    .await;
    assert_eq!(receiver.deliveries().len(), 0);

    // `deploy new` has written the table.
    let settings = std::fs::read_to_string(app.path().join("flash.toml")).unwrap();
    let table = "[environments.production]\n";
    assert!(settings.contains(table), "{settings}");
    let allowed = settings.replace(table, &format!("{table}webhook_networks = [\"127.0.0.1\"]\n"));
    std::fs::write(app.path().join("flash.toml"), allowed).unwrap();
    app.send(&[]);
    app.succeeds(&["service", "restart"]);
    until("the environment to be back", SOON, submit).await;
    assert_eq!(receiver.received(1).await[0].json()["status"], "COMPLETED");
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_of_an_environment_win_over_those_of_the_code() {
    let app = Deployed::new("[environments.production.workers.greeter]\nworkers_max = 7\n");
    app.succeeds(&["deploy", "new", "production"]);
    app.send(&[]);
    let status = app.json(&["status", "production"]);
    let greeter =
        status["workers"].as_array().unwrap().iter().find(|own| own["name"] == "greeter").unwrap().clone();
    assert_eq!(greeter["workers_max"], 7);
    let settings = std::fs::read_to_string(app.path().join("flash.toml")).unwrap();
    std::fs::write(app.path().join("flash.toml"), settings.replace("workers_max = 7", "workers_max = 9"))
        .unwrap();
    let planned = app.run(&app.sending(&["--plan"]));
    assert_eq!(planned.code, Some(2), "{planned:#?}");
    let workers = planned.stdout.lines().find(|line| line.contains("7") && line.contains("9"));
    assert!(workers.is_some(), "{planned:#?}");
}
