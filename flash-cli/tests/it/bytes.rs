//! Byte strings: raw over HTTP and between workers, base64 in JSON, files for `flash call`. The last one calls a running
//! `flash run`.
use flash_protocol::wire::base64;
use serde_json::json;

use crate::support::{Client, Finished, Running, copy_of_fixture, finish_with, fixture, root};

/// Larger than any buffer on the way, and of every byte.
fn picture() -> Vec<u8> {
    (0..3_000_000_u32).map(|number| number.wrapping_mul(2_654_435_761).to_le_bytes()[3]).collect()
}

#[tokio::test]
async fn bytes_are_raw_on_routes_base64_in_json_and_unchanged_by_three_workers() {
    let app = Running::start(&fixture(), &["--no-reload"]);
    let client = Client::new();
    let (picture, reversed) = (picture(), picture().into_iter().rev().collect::<Vec<u8>>());

    let request = client.raw().post(format!("{}/turned", app.url)).header("content-type", "image/png");
    let turned = request.body(picture.clone()).send().await.unwrap();
    assert_eq!(turned.status(), 200);
    assert_eq!(turned.headers()["content-type"], "application/octet-stream");
    assert!(turned.bytes().await.unwrap() == reversed, "other bytes came back");

    // What looks like JSON is not read as JSON, whatever a client calls it; the first is what curl says.
    let brackets = vec![b'['; 100_000];
    for kind in ["application/x-www-form-urlencoded", "application/json"] {
        let request = client.raw().post(format!("{}/turned", app.url)).header("content-type", kind);
        let turned = request.body(brackets.clone()).send().await.unwrap();
        assert_eq!(turned.status(), 200, "{kind}");
        assert!(turned.bytes().await.unwrap() == brackets, "other bytes came back");
    }

    let request = client.raw().put(format!("{}/echo/x", app.url)).header("content-type", "image/png");
    let echo = request.body(picture.clone()).send().await.unwrap();
    assert_eq!(echo.status(), 200);
    assert_eq!(echo.headers()["content-type"], "image/png; name=x");
    assert!(echo.bytes().await.unwrap() == picture, "other bytes came back");
    let refused = client.raw().put(format!("{}/echo/nothing", app.url)).body(vec![0xff]);
    let refused = client.send(refused).await;
    assert_eq!((refused.status, refused.json()["fields"][0]["path"].clone()), (422, json!("/name")));

    let turner = format!("{}/v2/turner/runsync", app.url);
    let input = json!({ "name": "it", "file": base64::encode(&picture) });
    let job = client.post(&turner, json!({ "input": input })).await.json();
    let output = &job["output"];
    assert_eq!((&job["status"], &output["name"]), (&json!("COMPLETED"), &json!("it, turned")));
    let file = base64::decode(output["file"].as_str().unwrap()).unwrap();
    assert!(file == reversed, "other bytes came back");
    // A stream of them: raw from worker to worker, base64 for a client, whole for both.
    let input = json!({ "file": base64::encode(&picture) });
    let job = client.post(format!("{}/pictures/cut_and_join/run_sync", app.url), input.clone()).await.json();
    assert!(base64::decode(job["output"].as_str().unwrap_or_default()).is_some_and(|file| file == picture));
    let cut = format!("{}/pictures/cut/runsync", app.url);
    let job = client.post(cut, json!({ "input": input })).await.json();
    let reverser = format!("{}/v2/reverser", app.url);
    let chunks = client.get(format!("{reverser}/stream/{}", job["id"].as_str().unwrap())).await.json();
    let chunks = chunks["stream"].as_array().unwrap().iter().map(|chunk| chunk["output"].clone());
    assert_eq!(json!(chunks.collect::<Vec<_>>()), job["output"], "the list of all chunks is the result");
    let files = job["output"].as_array().unwrap().iter();
    let files = files.map(|chunk| base64::decode(chunk["file"].as_str().unwrap()).unwrap());
    assert!(files.collect::<Vec<_>>().concat() == picture, "other bytes came back");

    let refused = client.post(&turner, json!({ "input": { "name": "it", "file": "not base64" } })).await;
    assert_eq!(
        (refused.status, &refused.json()["fields"]),
        (422, &json!([{ "path": "/file", "message": "expected base64" }]))
    );

    let api = client.get(format!("{}/openapi.json", app.url)).await.json();
    let binary = json!({ "schema": { "type": "string", "format": "binary" } });
    let turned = &api["paths"]["/turned"]["post"];
    for place in ["/requestBody/content", "/responses/200/content"] {
        assert_eq!(turned.pointer(place), Some(&json!({ "application/octet-stream": binary })), "{turned}");
    }
    let file = api.pointer("/components/schemas/Picture/properties/file").cloned().unwrap_or_default();
    assert_eq!((&file["type"], &file["contentEncoding"]), (&json!("string"), &json!("base64")), "{file}");
}

#[test]
fn call_and_logs_reach_a_running_flash_run_and_take_and_write_files() {
    let directory = copy_of_fixture("fixture-called");
    let directory = directory.path();
    let flash = |arguments: &[&str], url: &str| -> Finished {
        finish_with(arguments, directory, &[("FLASH_URL", url), ("FLASH_API_KEY", "")])
    };
    let none = flash(&["call", "--local", "nothing"], "");
    assert_eq!(none.code, Some(2), "{none:?}");
    assert!(none.stderr.contains("no `flash run` of `fixture-called` is running"), "{none:?}");
    assert!(none.stderr.contains("start it: flash run"), "{none:?}");

    let target = root().join("target");
    let environment = [("CARGO_TARGET_DIR", target.to_str().unwrap())];
    let app = Running::start_with(directory, &["--no-reload"], &environment);
    let local = |arguments: &[&str]| flash(arguments, "");
    let (picture, reversed) = (picture(), picture().into_iter().rev().collect::<Vec<u8>>());
    std::fs::write(directory.join("picture"), &picture).unwrap();

    // A route and a job, with the raw bytes to a file and to a pipe.
    let route = local(&["call", "--local", "/turned", "@picture", "-o", "turned"]);
    assert_eq!((route.code, route.stdout.as_str()), (Some(0), ""), "{}", route.stderr);
    assert!(std::fs::read(directory.join("turned")).unwrap() == reversed, "other bytes were written");
    std::fs::write(directory.join("short"), b"\xe4bc").unwrap();
    let job = crate::support::flash(&["call", "reverse", "@short"])
        .current_dir(directory)
        .envs([("FLASH_URL", app.url.as_str()), ("FLASH_API_KEY", "")])
        .output()
        .unwrap();
    assert_eq!(job.stdout, b"cb\xe4", "{job:?}");

    // Within JSON, and a file that is JSON.
    let within = local(&["call", "--local", "turn", r#"{"name": "@it", "file": "@short"}"#]);
    let printed: serde_json::Value = serde_json::from_str(&within.stdout).unwrap_or_default();
    assert_eq!(printed, json!({ "name": "@it, turned", "file": base64::encode(b"cb\xe4") }), "{within:?}");
    std::fs::write(directory.join("sum.json"), r#"{"left": 2, "right": 3}"#).unwrap();
    let sum = local(&["call", "--local", "add", "@sum.json"]);
    assert_eq!(sum.stdout.trim(), "5", "{sum:?}");

    // The printed example can be sent.
    let example = local(&["call", "--local", "greet", "--example"]);
    let greeted = local(&["call", "--local", "greet", &example.stdout]);
    assert_eq!((example.code, greeted.code), (Some(0), Some(0)), "{example:?} {greeted:?}");

    // A name that does not exist, and the log of the call that was made.
    let unknown = local(&["call", "--local", "gret"]);
    assert!(unknown.code == Some(2) && unknown.stderr.contains("did you mean `greet`"), "{unknown:?}");
    let logs = flash(&["logs", "--worker", "greeter"], &app.url);
    assert!(logs.code == Some(0) && logs.stdout.contains("greeting "), "{logs:?}");
    let none = local(&["logs", "--local", "--search", "no such line at all"]);
    assert!(none.code == Some(0) && none.stderr.contains("no matching lines"), "{none:?}");

    let both = local(&["call", "--local", "production", "greet"]);
    assert!(both.code == Some(2) && both.stderr.contains("leave one of them out"), "{both:?}");
    drop(app);
    let gone = local(&["logs", "--local"]);
    assert!(gone.code == Some(2) && gone.stderr.contains("no `flash run`"), "{gone:?}");
}
