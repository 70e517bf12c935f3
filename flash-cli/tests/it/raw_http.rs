//! HTTP as an enemy writes it, byte by byte: clients at the gateway, and workers behind the proxy.
use std::{fmt::Write as _, path::PathBuf, time::Duration};

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

/// Far more than any case takes, and far less than the limits that would end it otherwise.
const LIMIT: Duration = Duration::from_secs(45);

/// The server of tests, as a worker.
fn server() -> PathBuf {
    let mut build = cargo(&["build", "--quiet", "-p", "fixture-server"]);
    assert!(build.current_dir(root()).status().unwrap().success());
    root().join("target/debug/fixture-server")
}

/// An app with a worker type `good`, which says what it sees, and `hostile`, which answers with any bytes.
struct App {
    running: Running,
    _directory: TempDir,
}

impl App {
    fn start(environment: &[(&str, &str)]) -> Self {
        let server = server();
        let worker = |name: &str, command: Value| {
            format!(
                "[workers.{name}]\nkind = \"load_balanced\"\ncommand = {command}\nworkers = \"1..=1\"\n\
                 max_concurrency = 16\n"
            )
        };
        let workers = [worker("good", json!([server])), worker("hostile", json!([server, "hostile"]))];
        let main = "#[flash_sdk::main]\nasync fn main() {}\n";
        let directory = crate_of("raw-http", &[("src/main.rs", main), ("flash.toml", &workers.concat())]);
        let target = root().join("target");
        let own = [("CARGO_TARGET_DIR", target.to_str().unwrap())];
        let environment: Vec<_> = own.iter().chain(environment).copied().collect();
        let running = Running::start_with(directory.path(), &["--no-reload"], &environment);
        Self { running, _directory: directory }
    }

    /// Sends these bytes over a connection of their own; all that comes back until it ends.
    async fn exchange(&self, name: &str, sent: &[u8]) -> String {
        let address = self.running.url.strip_prefix("http://").unwrap();
        let mut stream = TcpStream::connect(address).await.unwrap();
        let (mut read, mut write) = stream.split();
        let mut received = Vec::new();
        let whole = async {
            // A server that has refused reads no more: both errors are its end of the connection.
            tokio::join!(async { drop(write.write_all(sent).await) }, async {
                drop(read.read_to_end(&mut received).await);
            })
        };
        let ended = timeout(LIMIT, whole).await;
        let text = String::from_utf8_lossy(&received).into_owned();
        assert!(ended.is_ok(), "{name}: hangs after {:?}", text.chars().take(300).collect::<String>());
        text
    }
}

/// What an answer must be.
#[derive(Debug)]
enum Expected {
    /// Answers with these statuses, one after the other.
    Statuses(&'static [u16]),
    /// Whatever is no failure of the platform, or nothing.
    NoFailure,
}
use Expected::{NoFailure, Statuses};

use crate::support::{Client, Running, cargo, crate_of, root};

/// The statuses of the answers in what came back. Bodies of these tests hold no status line.
fn statuses(text: &str) -> Vec<u16> {
    let lines = text.split("HTTP/1.1 ").skip(1).chain(text.split("HTTP/1.0 ").skip(1));
    lines.map(|rest| rest.get(..3).unwrap_or_default().parse().unwrap()).collect()
}

fn check(name: &str, text: &str, expected: &Expected) {
    let (shown, statuses): (String, _) = (text.chars().take(500).collect(), statuses(text));
    match expected {
        Statuses(expected) => assert_eq!(statuses, *expected, "{name}: {shown}"),
        NoFailure => {
            let is_fine = |status: &u16| *status < 500 || matches!(status, 501 | 502 | 504 | 505);
            assert!(statuses.iter().all(is_fine), "{name}: {shown}");
        }
    }
}

/// A request with these lines in its head, and what comes after it.
fn request(line: &str, headers: &[&str], body: &str) -> String {
    let headers: String = headers.iter().map(|header| format!("{header}\r\n")).collect();
    format!("{line}\r\n{headers}\r\n{body}")
}

/// These headers, then those.
fn with<'a>(these: &[&'a str], those: &[&'a str]) -> Vec<&'a str> {
    these.iter().chain(those).copied().collect()
}

const GET: &str = "GET /good/x HTTP/1.1";
const POST: &str = "POST /good/x HTTP/1.1";
const HOST: &str = "host: localhost";
const CLOSE: &str = "connection: close";
const CHUNKED: &str = "transfer-encoding: chunked";

/// Hosts and targets that contradict each other, and pages from elsewhere.
fn cases_of_hosts() -> Vec<(&'static str, String, Expected)> {
    let of = |line: &str, headers: &[&str]| request(line, &with(headers, &[CLOSE]), "");
    let absolute = "GET http://localhost/good/x HTTP/1.1";
    vec![
        ("one host", of(GET, &[HOST]), Statuses(&[200])),
        ("no host", of(GET, &[]), Statuses(&[400])),
        ("no host before 1.1", of("GET /good/x HTTP/1.0", &[]), Statuses(&[200])),
        ("two hosts", of(GET, &[HOST, "host: 127.0.0.1"]), Statuses(&[400])),
        ("the same host twice", of(GET, &[HOST, HOST]), Statuses(&[400])),
        ("an empty host", of(GET, &["host:"]), Statuses(&[400])),
        ("two hosts in one", of(GET, &["host: localhost, evil.example"]), Statuses(&[400])),
        ("the whole URL", of(absolute, &[HOST]), Statuses(&[200])),
        ("the URL of another host", of(absolute, &["host: 127.0.0.1"]), Statuses(&[400])),
        ("the URL without a host", of(absolute, &[]), Statuses(&[400])),
        ("a tunnel", of("CONNECT localhost:80 HTTP/1.1", &["host: localhost:80"]), Statuses(&[405])),
        ("everything", of("OPTIONS * HTTP/1.1", &[HOST]), NoFailure),
        ("a name from elsewhere", of(GET, &["host: evil.example"]), Statuses(&[403])),
        ("an image of another page", of(GET, &[HOST, "sec-fetch-site: cross-site"]), Statuses(&[403])),
        ("a page of another port", of(GET, &[HOST, "sec-fetch-site: same-site"]), Statuses(&[403])),
        ("the API pages", of("GET /docs HTTP/1.1", &[HOST, "sec-fetch-site: none"]), Statuses(&[200])),
    ]
}

/// Bodies whose end can be seen in two places, or nowhere.
fn cases_of_bodies() -> Vec<(&'static str, String, Expected)> {
    let of = |headers: &[&str], body: &str| request(POST, &with(&[HOST, CLOSE], headers), body);
    let smuggled = format!("0\r\n\r\n{}", request("GET /good/smuggled HTTP/1.1", &[HOST], ""));
    let both = request(POST, &[HOST, "content-length: 4", CHUNKED], &smuggled);
    let both_turned = request(POST, &[HOST, CHUNKED, "content-length: 4"], &smuggled);
    let two = request(GET, &[HOST], "") + &request(GET, &[HOST, CLOSE], "");
    vec![
        ("a length", of(&["content-length: 2"], "{}"), Statuses(&[200])),
        ("chunks", of(&[CHUNKED], "2\r\n{}\r\n0\r\n\r\n"), Statuses(&[200])),
        ("a length and chunks", both, Statuses(&[200])),
        ("chunks and a length", both_turned, Statuses(&[200])),
        ("another coding first", of(&["transfer-encoding: gzip, chunked"], "0\r\n\r\n"), Statuses(&[501])),
        ("codings apart", of(&["transfer-encoding: gzip", CHUNKED], "0\r\n\r\n"), Statuses(&[501])),
        ("another coding alone", of(&["transfer-encoding: gzip"], ""), Statuses(&[400])),
        ("another coding last", of(&["transfer-encoding: chunked, gzip"], ""), Statuses(&[400])),
        ("two lengths", of(&["content-length: 2", "content-length: 3"], "{} "), Statuses(&[400])),
        ("two lengths in one", of(&["content-length: 2, 3"], "{} "), Statuses(&[400])),
        ("a length with a sign", of(&["content-length: +2"], "{}"), Statuses(&[400])),
        ("a length below zero", of(&["content-length: -2"], "{}"), Statuses(&[400])),
        ("a chunk without a length", of(&[CHUNKED], "zz\r\n{}\r\n0\r\n\r\n"), Statuses(&[400])),
        ("a chunk beyond numbers", of(&[CHUNKED], "fffffffffffffffff\r\n{}\r\n"), Statuses(&[400])),
        (
            "expected, and sent",
            of(&["content-length: 2", "expect: 100-continue"], "{}"),
            Statuses(&[100, 200]),
        ),
        (
            "expected, and too large",
            of(&["content-length: 40000000", "expect: 100-continue"], ""),
            Statuses(&[413]),
        ),
        ("two requests at once", two, Statuses(&[200, 200])),
    ]
}

/// Heads that cannot be parsed, or are too long.
fn cases_of_heads() -> Vec<(&'static str, String, Expected)> {
    let of = |header: &str| request(GET, &[HOST, CLOSE, header], "");
    let many: Vec<String> = (0..200).map(|number| format!("x-{number}: y")).collect();
    let many: Vec<&str> = [HOST].into_iter().chain(many.iter().map(String::as_str)).collect();
    let long = format!("GET /good/{} HTTP/1.1", "a".repeat(70_000));
    vec![
        ("a space before the colon", of("x : y"), Statuses(&[400])),
        ("a folded line", of("x: y\r\n z"), Statuses(&[400])),
        ("a zero byte", of("x: y\0z"), Statuses(&[400])),
        ("a lone carriage return", of("x: y\rz: w"), Statuses(&[400])),
        ("no name", of(": y"), Statuses(&[400])),
        ("too many headers", request(GET, &many, ""), Statuses(&[431])),
        ("a header that is too long", of(&format!("x: {}", "y".repeat(600_000))), NoFailure),
        ("a path that is too long", request(&long, &[HOST, CLOSE], ""), NoFailure),
        ("no HTTP", "\u{1}\u{2}\u{3}\r\n\r\n".to_owned(), Statuses(&[400])),
        ("HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned(), NoFailure),
        ("HTTP/3", request("GET /good/x HTTP/3.0", &[HOST], ""), NoFailure),
        ("an odd method", request("BREW /good/x HTTP/1.1", &[HOST, CLOSE], ""), Statuses(&[200])),
        ("an upgrade to HTTP/2", of("upgrade: h2c"), Statuses(&[200])),
    ]
}

/// What a hostile worker sends: as it is, and then over and over.
type Answer = (&'static str, String, &'static str, Expected);

fn cases_of_answers() -> Vec<Answer> {
    let head = |headers: &[&str], body: &str| request("HTTP/1.1 200 OK", headers, body);
    let once = |name, answer: String, expected| (name, answer, "", expected);
    let second = request("HTTP/1.1 200 OK", &["content-length: 4"], "evil");
    let interim = "HTTP/1.1 103 Early Hints\r\n\r\n";
    vec![
        once("a length", head(&["content-length: 3"], "abc"), Statuses(&[200])),
        once("nothing", String::new(), Statuses(&[502])),
        once("no HTTP", "hello\r\n\r\n".to_owned(), Statuses(&[502])),
        once("half a head", "HTTP/1.1 200 OK\r\nx: y\r\n".to_owned(), Statuses(&[502])),
        once("another version", request("HTTP/2.0 200 OK", &["content-length: 0"], ""), Statuses(&[502])),
        once("no status", request("HTTP/1.1 1000 OK", &["content-length: 0"], ""), Statuses(&[502])),
        once(
            "some interim responses",
            interim.repeat(3) + &head(&["content-length: 0"], ""),
            Statuses(&[200]),
        ),
        ("a flood of interim responses", String::new(), "HTTP/1.1 103 Early Hints\r\n\r\n", Statuses(&[502])),
        ("a flood of 100 Continue", String::new(), "HTTP/1.1 100 Continue\r\n\r\n", Statuses(&[502])),
        once(
            "a protocol that nobody asked for",
            request("HTTP/1.1 101 Odd", &["upgrade: x", "connection: upgrade"], ""),
            Statuses(&[502]),
        ),
        ("endless headers", "HTTP/1.1 200 OK\r\n".to_owned(), "x: y\r\n", Statuses(&[502])),
        ("an endless header", "HTTP/1.1 200 OK\r\nx: ".to_owned(), "yyyyyyyy", Statuses(&[502])),
        ("an endless status line", "HTTP/1.1 200 ".to_owned(), "OKOKOKOK", Statuses(&[502])),
        once(
            "a length and chunks",
            head(&["content-length: 3", CHUNKED], "3\r\nabc\r\n0\r\n\r\n"),
            Statuses(&[502]),
        ),
        once("another coding", head(&["transfer-encoding: gzip, chunked"], "0\r\n\r\n"), Statuses(&[502])),
        once("another coding alone", head(&["transfer-encoding: gzip"], "abc"), Statuses(&[502])),
        once("two lengths", head(&["content-length: 3", "content-length: 4"], "abcd"), Statuses(&[502])),
        once(
            "the same length twice",
            head(&["content-length: 3", "content-length: 3"], "abc"),
            Statuses(&[200]),
        ),
        once("a length below zero", head(&["content-length: -1"], ""), Statuses(&[502])),
        once("a length over the limit", head(&["content-length: 99999999999"], "abc"), Statuses(&[502])),
        once("more than its length", head(&["content-length: 3"], "abc") + &second, Statuses(&[200])),
        once("less than its length", head(&["content-length: 10"], "abc"), Statuses(&[200])),
        once("a chunk without a length", head(&[CHUNKED], "zz\r\n"), NoFailure),
        once("a chunk that breaks off", head(&[CHUNKED], "10\r\nabc"), NoFailure),
        ("an endless chunk extension", head(&[CHUNKED], "1;"), "aaaaaaaa", NoFailure),
        ("endless trailers", head(&[CHUNKED], "0\r\n"), "x: y\r\n", NoFailure),
        ("an endless body", head(&[], ""), "xxxxxxxx", Statuses(&[200])),
        once("no content with some", request("HTTP/1.1 204 No Content", &[], "abc"), Statuses(&[204])),
        once("a zero byte in a header", head(&["x: y\0z", "content-length: 0"], ""), Statuses(&[502])),
        once("a split header", head(&["x: y\rset-cookie: z", "content-length: 0"], ""), Statuses(&[502])),
    ]
}

fn hex(text: &str) -> String {
    text.bytes().fold(String::new(), |mut hex, byte| {
        write!(hex, "{byte:02x}").unwrap();
        hex
    })
}

#[tokio::test]
async fn neither_a_hostile_client_nor_a_hostile_worker_confuses_the_gateway() {
    let app = App::start(&[]);
    for (name, sent, expected) in
        [cases_of_hosts(), cases_of_bodies(), cases_of_heads()].into_iter().flatten()
    {
        let text = app.exchange(name, sent.as_bytes()).await;
        check(name, &text, &expected);
        assert!(!text.contains("smuggled"), "{name}: {text}");
    }
    for (name, answer, flood, expected) in cases_of_answers() {
        let sent = request(
            "GET /hostile/x HTTP/1.1",
            &[HOST, CLOSE, &format!("x-answer: {}", hex(&answer)), &format!("x-flood: {}", hex(flood))],
            "",
        );
        let text = app.exchange(name, sent.as_bytes()).await;
        check(name, &text, &expected);
        assert!(!text.contains("evil"), "{name}: {text}");
        // Whatever was left on its connections reaches nobody else.
        let next = app.exchange(name, request(GET, &[HOST, CLOSE], "").as_bytes()).await;
        check(name, &next, &Statuses(&[200]));
    }
}

#[tokio::test]
async fn a_worker_sees_neither_the_key_nor_what_a_client_says_of_itself_and_the_log_has_a_line() {
    const KEY: &str = "flash-canary-5d2c8e91f7";
    let app = App::start(&[("FLASH_API_KEY", KEY)]);
    let client = Client::new();
    let request = client
        .raw()
        .post(format!("{}/good/seen?a=1&api_key={KEY}&b=2", app.running.url))
        .bearer_auth(KEY)
        .header("cookie", format!("theme=dark; key={KEY}"))
        .header("x-api-key", KEY)
        .header("x-forwarded-for", "203.0.113.9")
        .header("forwarded", "for=203.0.113.9")
        .header("connection", "x-forwarded-host, host")
        .header("x-request-id", "canary-request")
        .body("{}");
    let answer = client.send(request).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert!(!answer.text.contains(KEY), "{}", answer.text);
    assert!(!answer.text.contains("203.0.113.9"), "{}", answer.text);
    let seen = answer.json();
    assert_eq!(seen["uri"], "/seen?a=1&b=2");
    let header = |name: &str| seen["headers"][name].as_str().unwrap_or_default().to_owned();
    assert_eq!(header("cookie"), "theme=dark");
    assert_eq!(header("x-forwarded-for"), "127.0.0.1");
    assert_eq!(header("x-forwarded-proto"), "http");
    let host = app.running.url.strip_prefix("http://").unwrap();
    assert_eq!(header("host"), host);
    assert_eq!(header("x-forwarded-host"), host);

    let limits = |pid: i64| {
        let limits = std::fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
        let line = limits.lines().find_map(|line| line.strip_prefix("Max open files")).unwrap().to_owned();
        let numbers: Vec<u64> = line.split_whitespace().filter_map(|word| word.parse().ok()).collect();
        (numbers[0], numbers[1])
    };
    let (soft, hard) = limits(std::process::id().into());
    assert_eq!(limits(app.running.id().into()).0, soft.max(hard.min(65_536)), "raised");
    assert_eq!(
        limits(seen["pid"].as_i64().unwrap()),
        (soft, hard),
        "and a worker has what flash was started with"
    );

    let line = app.running.event("log", |line| {
        let text = line["text"].as_str().unwrap_or_default();
        line["request_id"] == "canary-request" && text.starts_with("POST /good/seen 200 in ")
    });
    assert!(line["worker"].as_str().unwrap().starts_with("good-"), "{line}");
    assert_eq!(app.running.count("log", |line| line.to_string().contains(KEY)), 0);

    let unknown =
        client.send(client.raw().get(format!("{}/good/x", app.running.url)).bearer_auth("other")).await;
    assert_eq!(unknown.status, 401);
}
