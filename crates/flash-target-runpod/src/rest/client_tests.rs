use std::sync::Arc;

use flash_target::TargetError;
use parking_lot::Mutex;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

use super::*;

const KEY: &str = "rpa_secret";

/// What the server does with a request.
enum Act {
    Answer(u16, &'static str, String),
    /// The request is read, then the connection ends.
    Reset,
    /// Sends these bytes of a log, then the connection ends.
    Log(&'static str),
}

fn ok(body: impl Into<String>) -> Act {
    Act::Answer(200, "", body.into())
}

/// Headers and bodies of requests, in order.
type Seen = Arc<Mutex<Vec<String>>>;

/// A server that does one thing after the other, and a client for it with only short pauses.
async fn serving(acts: Vec<Act>) -> (Rest, Seen) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let seen = Seen::default();
    let written = seen.clone();
    tokio::spawn(async move {
        for act in acts {
            let (mut stream, _) = listener.accept().await.unwrap();
            let (mut request, mut piece) = (Vec::new(), [0; 4096]);
            while !is_whole(&request) {
                let read = stream.read(&mut piece).await.unwrap();
                assert!(read > 0, "a request was cut off");
                request.extend_from_slice(&piece[..read]);
            }
            written.lock().push(String::from_utf8(request).unwrap());
            let answer = match act {
                Act::Answer(status, head, body) => {
                    let length = body.len();
                    format!(
                        "HTTP/1.1 {status} X\r\nconnection: close\r\ncontent-length: {length}\r\n{head}\r\n{body}"
                    )
                }
                Act::Log(text) => {
                    format!(
                        "HTTP/1.1 200 X\r\nconnection: close\r\ncontent-type: text/event-stream\r\n\r\n{text}"
                    )
                }
                Act::Reset => continue,
            };
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    let address = Url::parse(&format!("http://{address}")).unwrap();
    let addresses = Addresses { rest: address.clone(), queue: address };
    let mut rest = Rest::new(SecretValue::new(KEY.to_owned()), addresses).unwrap();
    let (first_pause, longest_pause) = (Duration::from_millis(1), Duration::from_millis(2));
    rest.retry_policy = RetryPolicy { first_pause, longest_pause, ..retry::POLICY };
    (rest, seen)
}

fn is_whole(request: &[u8]) -> bool {
    let text = String::from_utf8_lossy(request);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length =
        head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
    body.len() >= length.unwrap_or(0)
}

/// The first lines of the requests.
fn lines(seen: &Seen) -> Vec<String> {
    let seen = seen.lock();
    seen.iter().map(|request| request.lines().next().unwrap().replace(" HTTP/1.1", "")).collect()
}

fn template() -> CreateTemplate {
    let env = BTreeMap::from([("A".to_owned(), "1".to_owned())]);
    CreateTemplate { name: "t".to_owned(), image: "i".to_owned(), env, serverless: true }
}

const NONE: &str = r#"{"templates":[]}"#;
const MADE: &str = r#"{"id":"t1","name":"t","image":"i","env":{"A":"1"},"serverless":true}"#;

#[tokio::test]
async fn what_may_be_asked_again_is() {
    let (rest, seen) = serving(vec![
        Act::Answer(503, "", "<html>".to_owned()),
        Act::Reset,
        Act::Answer(429, "retry-after: 0\r\n", String::new()),
        ok(format!(r#"{{"templates":[{MADE}]}}"#)),
    ])
    .await;
    let templates = rest.templates().await.unwrap();
    assert_eq!((templates.len(), templates[0].id.as_str()), (1, "t1"));
    assert_eq!(lines(&seen), ["GET /v2/templates"; 4]);
    assert!(seen.lock().iter().all(|request| request.contains("authorization: Bearer rpa_secret")));
}

#[tokio::test]
async fn a_creation_whose_answer_is_lost_is_looked_for_and_not_repeated() {
    let (rest, seen) = serving(vec![ok(NONE), Act::Reset, ok(format!(r#"{{"templates":[{MADE}]}}"#))]).await;
    assert_eq!(rest.create_template(&template()).await.unwrap().id, "t1");
    assert_eq!(lines(&seen), ["GET /v2/templates", "POST /v2/templates", "GET /v2/templates"]);
}

#[tokio::test]
async fn a_creation_that_was_not_carried_out_is_repeated() {
    let (rest, seen) = serving(vec![
        ok(NONE),
        Act::Answer(500, "", String::new()),
        ok(NONE),
        // Certainly not carried out, so it does not look.
        Act::Answer(429, "retry-after: 0\r\n", String::new()),
        Act::Answer(201, "", MADE.to_owned()),
    ])
    .await;
    assert_eq!(rest.create_template(&template()).await.unwrap().id, "t1");
    let expected = ["GET", "POST", "GET", "POST", "POST"].map(|method| format!("{method} /v2/templates"));
    assert_eq!(lines(&seen), expected);
}

#[tokio::test]
async fn a_pause_beyond_patience_is_told_and_not_waited_for() {
    let (rest, _) = serving(vec![Act::Answer(429, "retry-after: 3600\r\n", String::new())]).await;
    let error = rest.templates().await.unwrap_err();
    let RestError::RateLimited { operation, pause } = &error else { panic!("{error:?}") };
    assert_eq!((operation.as_str(), *pause), ("GET /v2/templates", Duration::from_secs(3600)));
    assert_eq!(TargetError::from(error).hint.as_deref(), Some("try again in 3600 s"));
}

#[tokio::test]
async fn what_fails_for_good_is_told_once_and_without_the_key() {
    let refused = r#"{"title":"Unprocessable Entity","status":422,"detail":"no","errors":["$.x: bad"]}"#;
    for (act, part) in [
        (Act::Answer(401, "", String::new()), "rejected the key"),
        (Act::Answer(403, "", r#"{"detail":"read only"}"#.to_owned()), "read only"),
        (Act::Answer(422, "", refused.to_owned()), "$.x: bad"),
        (ok("<html>"), "does not match its API description"),
        (ok(r#"{"templates":[{"id":7}]}"#), "does not match its API description"),
        (Act::Answer(302, "location: http://elsewhere.example/\r\n", String::new()), "302"),
    ] {
        let (rest, seen) = serving(vec![act]).await;
        let error = rest.templates().await.unwrap_err();
        let told = format!("{error} {error:?} {rest:?}");
        let target = TargetError::from(error);
        let told = format!("{told} {target:?} {}", target.text());
        assert!(told.contains(part), "{told}");
        assert!(!told.contains(KEY), "{told}");
        assert_eq!(lines(&seen).len(), 1, "{part}");
    }
}

#[tokio::test]
async fn a_server_that_stays_broken_is_given_up_in_bounded_tries() {
    let (rest, seen) = serving((0..20).map(|_| Act::Answer(500, "", String::new())).collect()).await;
    let error = rest.templates().await.unwrap_err();
    assert!(matches!(error, RestError::Unreachable { .. }), "{error:?}");
    assert_eq!(lines(&seen).len(), 6);
}

#[tokio::test]
async fn what_is_gone_already_is_deleted() {
    let (rest, _) =
        serving(vec![Act::Answer(404, "", String::new()), Act::Answer(204, "", String::new())]).await;
    rest.delete_template("t1").await.unwrap();
    rest.delete_endpoint("e1").await.unwrap();
}

#[tokio::test]
async fn a_log_goes_on_after_a_break_where_it_was() {
    const FIRST: &str =
        "id: t/01\ndata: {\"ts\":\"t\",\"source\":\"container\",\"line\":\"one\"}\n\nid: t/02\ndata: {\"ts";
    const SECOND: &str = "id: t/02\ndata: {\"ts\":\"t\",\"source\":\"container\",\"line\":\"two\"}\n\n";
    let gone = Act::Answer(404, "", String::new());
    let (rest, seen) = serving(vec![Act::Log(FIRST), Act::Reset, Act::Log(SECOND), gone]).await;
    let log = rest.opened_worker_logs("e1", "w1", crate::rest::LogFrom::Tail(7)).await.unwrap();
    let events: Vec<_> = futures_util::StreamExt::collect(log).await;
    let texts: Vec<String> = events.into_iter().map(|event| event.unwrap().line).collect();
    assert_eq!(texts, ["one", "two"]);
    assert_eq!(lines(&seen), ["GET /v2/serverless/e1/workers/w1/logs?tail=7"; 4]);
    let seen = seen.lock();
    let resumed = |request: &String| request.to_lowercase().contains("last-event-id: t/0");
    assert_eq!(seen.iter().map(resumed).collect::<Vec<_>>(), [false, true, true, true]);
}
