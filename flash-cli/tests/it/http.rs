//! A router of the app's own behind the gateway: the fixture's `chat`.
use futures_util::{SinkExt as _, StreamExt as _, stream};
use serde_json::json;
use tokio_tungstenite::{
    connect_async,
    tungstenite::{Message, client::IntoClientRequest as _},
};

use crate::support::{Client, Running, fixture};

fn app() -> Running {
    Running::start(&fixture(), &["--no-reload"])
}

#[tokio::test]
async fn a_web_socket_of_the_router_echoes_and_knows_its_request() {
    let app = app();
    let url = format!("{}/chat/socket", app.url).replacen("http", "ws", 1);
    let mut request = url.into_client_request().unwrap();
    request.headers_mut().insert("x-request-id", "my-socket".parse().unwrap());
    let (mut socket, answer) = connect_async(request).await.unwrap();
    assert_eq!(answer.headers()["x-stamp"], "stamped", "the middleware saw the upgrade");
    for text in ["hello", "again"] {
        socket.send(Message::text(text)).await.unwrap();
        let echoed = socket.next().await.unwrap().unwrap();
        assert_eq!(echoed, Message::text(format!("0 my-socket {text}")));
    }
    socket.close(None).await.unwrap();
}

#[tokio::test]
async fn an_upload_arrives_and_a_body_streams_both_ways() {
    let (app, client) = (app(), Client::new());
    let form = "--x\r\ncontent-disposition: form-data; name=\"title\"\r\n\r\nA cat\r\n--x\r\n\
                content-disposition: form-data; name=\"photo\"; filename=\"cat.jpg\"\r\n\
                content-type: image/jpeg\r\n\r\n0123456789\r\n--x--\r\n";
    let post = |body: String| {
        let request = client.raw().post(format!("{}/chat/upload", app.url));
        client.send(request.header("content-type", "multipart/form-data; boundary=x").body(body))
    };
    let parts = post(form.to_owned()).await;
    let expected = json!([
        { "name": "title", "file": null, "length": 5 },
        { "name": "photo", "file": "cat.jpg", "length": 10 },
    ]);
    assert_eq!((parts.status, parts.json()), (200, expected));
    // The worker type's own limit, a MiB.
    let large = post(form.replace("0123456789", &"x".repeat(1024 * 1024))).await;
    assert!(large.status == 413 && large.text.contains("1 MiB"), "{large:?}");

    let (chunks, body) = tokio::sync::mpsc::channel::<Result<&'static str, std::io::Error>>(1);
    let body = stream::unfold(body, async |mut body| Some((body.recv().await?, body)));
    let request = client.raw().post(format!("{}/chat/shout", app.url));
    chunks.send(Ok("first")).await.unwrap();
    let mut answer = request.body(reqwest::Body::wrap_stream(body)).send().await.unwrap();
    assert_eq!(answer.headers()["x-stamp"], "stamped");
    assert_eq!(answer.chunk().await.unwrap().unwrap(), "FIRST");
    // Only now the next one is sent.
    chunks.send(Ok("second")).await.unwrap();
    assert_eq!(answer.chunk().await.unwrap().unwrap(), "SECOND");
    drop(chunks);
    assert_eq!(answer.chunk().await.unwrap(), None);
}

#[tokio::test]
async fn a_call_in_a_handler_carries_the_request_id_and_what_goes_wrong_is_told() {
    let (app, client) = (app(), Client::new());
    let request = client.raw().get(format!("{}/chat/greet/Ada", app.url));
    let greeted = client.send(request.header("x-request-id", "my-chat")).await;
    assert_eq!((greeted.status, greeted.header("x-stamp")), (200, "stamped"), "{greeted:?}");
    assert!(greeted.header("x-runpod-worker-id").starts_with("chat-"), "{greeted:?}");
    let body = greeted.json();
    assert_eq!((&body["greeting"], &body["request_id"]), (&json!("one: hello Ada"), &json!("my-chat")));
    assert!(body["seconds_left"].as_u64().is_some_and(|left| left <= 600), "{body}");
    // The other worker's line has it too.
    app.event("log", |line| line["request_id"] == "my-chat" && line["worker_type"] == "greeter");

    let panicked = client.get(format!("{}/chat/panic", app.url)).await;
    assert_eq!((panicked.status, &panicked.json()["kind"]), (500, &json!("panic")), "{panicked:?}");
    assert!(panicked.text.contains("the handler gave up"), "{panicked:?}");
    // The status of a job's error, through the handler that called it, and from `run_sync`.
    let conflict = client.get(format!("{}/chat/conflict", app.url)).await;
    let body = conflict.json();
    assert_eq!((conflict.status, &body["kind"]), (409, &json!("handler")), "{conflict:?}");
    assert_eq!(
        body["error"], "stage `trouble/refuse_name` failed: could not sign up: `Ada` is taken",
        "{conflict:?}"
    );
    let job =
        client.post(format!("{}/trouble/refuse_name/run_sync", app.url), json!({ "name": "Ada" })).await;
    assert_eq!(job.status, 409, "{job:?}");
    // The router answers what it does not have; the gateway what is not the router's.
    let unknown = client.get(format!("{}/chat/nothing", app.url)).await;
    assert_eq!((unknown.status, unknown.text.as_str()), (404, ""));
    let outside = client.get(format!("{}/chats", app.url)).await;
    assert!(outside.status == 404 && outside.text.contains("no route at /chats"), "{outside:?}");
    let document = client.get(format!("{}/openapi.json", app.url)).await.json();
    let described = &document["paths"]["/chat/{path}"]["get"];
    assert_eq!(described["summary"], "Router `Chat::routes`");
}

#[tokio::test]
async fn a_typed_route_takes_headers_and_answers_with_a_status_and_headers_of_its_own() {
    let (app, client) = (app(), Client::new());
    let request = client.raw().put(format!("{}/things/7", app.url)).header("x-tenant", "acme");
    let put = client.send(request.body(r#"{"label":"new"}"#)).await;
    assert_eq!((put.status, put.header("location")), (201, "/things/7"), "{put:?}");
    assert_eq!(put.json(), json!({ "id": 7, "label": "new", "tenant": "acme" }));
    let deleted = client.send(client.raw().delete(format!("{}/things/7", app.url))).await;
    assert_eq!((deleted.status, deleted.text.as_str()), (204, ""));
    // A caller in Rust passes headers on, and sees status and headers.
    let request = client.raw().get(format!("{}/chat/things/8", app.url)).header("x-tenant", "acme");
    let called = client.send(request).await;
    let item = json!({ "id": 8, "label": "new", "tenant": "acme" });
    let expected = json!({ "status": 201, "location": "/things/8", "item": item, "deleted": 204 });
    assert_eq!(called.json(), expected, "{called:?}");
}

#[tokio::test]
async fn a_typed_route_takes_a_form_typed_headers_and_the_whole_request_and_answers_with_a_response() {
    let (app, client) = (app(), Client::new());
    let form = "--x\r\ncontent-disposition: form-data; name=\"title\"\r\n\r\nA cat\r\n--x\r\n\
                content-disposition: form-data; name=\"photo\"; filename=\"cat.jpg\"\r\n\
                content-type: image/jpeg\r\n\r\n0123456789\r\n--x--\r\n";
    let url = format!("{}/photos/pets", app.url);
    let post = |kind: &str, agent: Option<&str>, body: String| {
        let request = client.raw().post(&url).header("content-type", kind);
        client.send(
            agent.into_iter().fold(request, |request, agent| request.header("user-agent", agent)).body(body),
        )
    };
    let kind = "multipart/form-data; boundary=x";
    let added = post(kind, Some("parts/1"), form.to_owned()).await;
    let expected = json!({
        "album": "pets", "agent": "parts/1", "has_length": true, "title": "A cat", "fields": ["title", "photo"],
        "file": { "name": "cat.jpg", "type": "image/jpeg", "length": 10 },
    });
    assert_eq!((added.status, added.json()), (200, expected.clone()), "{added:?}");
    for (kind, agent, body, reason) in [
        ("application/json", Some("a"), "{}".to_owned(), "expected a form"),
        (kind, Some("a"), "--x\r\nno end".to_owned(), "the form is not valid"),
        (kind, None, form.to_owned(), "the header `user-agent` is missing"),
        (kind, Some("a"), form.replace("\"title\"", "\"name\""), "the form has no field `title`"),
    ] {
        let refused = post(kind, agent, body).await;
        assert!(refused.status == 400 && refused.text.contains(reason), "{reason}: {refused:?}");
    }

    let hook = format!("{}/hooks/7?full=1", app.url);
    let request =
        client.raw().post(&hook).header("x-signature", "ok").header("content-type", "application/json");
    let answer = client.send(request.body("{ not JSON")).await;
    assert_eq!((answer.status, answer.header("x-signature")), (202, "ok"), "{answer:?}");
    assert_eq!(
        (answer.header("content-type"), &*answer.text),
        ("text/plain", "7 POST /hooks/7?full=1 { not JSON")
    );
    let unsigned = client.send(client.raw().post(&hook).body("event")).await;
    assert_eq!((unsigned.status, &*unsigned.text), (401, "unsigned"));

    // From another worker.
    let called = client.get(format!("{}/chat/parts", app.url)).await;
    let mut added = expected;
    added["has_length"] = json!(true);
    let expected = json!({
        "added": added, "status": 202, "signature": "ok", "body": "7 POST /hooks/7?full=1 event",
        "refused": "HTTP 401: unsigned",
    });
    assert_eq!(called.json(), expected, "{called:?}");

    let document = client.get(format!("{}/openapi.json", app.url)).await.json();
    let described = &document["paths"]["/photos/{album}"]["post"];
    let forms: Vec<_> = described["requestBody"]["content"].as_object().unwrap().keys().collect();
    assert_eq!(forms, ["multipart/form-data"]);
    let names = ["album", "user-agent", "content-length"].map(|name| json!(name));
    let described: Vec<_> =
        described["parameters"].as_array().unwrap().iter().map(|own| &own["name"]).collect();
    assert_eq!(described, names.iter().collect::<Vec<_>>());
    let described = &document["paths"]["/hooks/{id}"]["post"];
    assert!(described["requestBody"]["content"]["*/*"].is_object(), "{described}");
}

#[tokio::test]
async fn a_form_over_the_limit_is_refused_in_the_form_of_all_errors() {
    let (app, client) = (app(), Client::new());
    let form = [
        b"--x\r\ncontent-disposition: form-data; name=\"photo\"; filename=\"a\"\r\n\r\n".to_vec(),
        vec![0; 31_000_000],
        b"\r\n--x--\r\n".to_vec(),
    ];
    let form: Vec<u8> = form.concat();
    // Its length is known from the start, or only once it is over the limit.
    let pieces: Vec<_> =
        form.chunks(1_000_000).map(|piece| Ok::<_, std::io::Error>(piece.to_vec())).collect();
    let unannounced = reqwest::Body::wrap_stream(stream::iter(pieces));
    for body in [form.into(), unannounced] {
        let request = client.raw().post(format!("{}/photos/pets", app.url)).header("user-agent", "a");
        let request = request.header("content-type", "multipart/form-data; boundary=x");
        let refused = client.send(request.header("x-request-id", "too-large").body(body)).await;
        assert_eq!(
            (refused.status, refused.header("content-type")),
            (413, "application/json"),
            "{refused:?}"
        );
        let error = refused.json();
        assert_eq!((&error["kind"], &error["request_id"]), (&json!("invalid_input"), &json!("too-large")));
        assert!(error["error"].as_str().is_some_and(|error| error.contains("30 MB")), "{error}");
    }
}
