//! A worker in one file, with nothing but the standard library: jobs of a queue, or a server on `PORT`.
use std::{
    env,
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
};

fn variable(name: &str) -> String {
    env::var(name).unwrap_or_default()
}

/// Status and body.
fn ask(method: &str, url: &str, body: &str) -> (u16, String) {
    let (host, path) = url.strip_prefix("http://").unwrap().split_once('/').unwrap();
    let mut stream = TcpStream::connect(host).unwrap();
    let key = variable("RUNPOD_AI_API_KEY");
    write!(
        stream,
        "{method} /{path} HTTP/1.1\r\nhost: {host}\r\nauthorization: {key}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
    (status, answer.split_once("\r\n\r\n").map_or(String::new(), |(_, body)| body.to_owned()))
}

fn serve(port: &str) {
    let listener = TcpListener::bind(format!("127.0.0.1:{port}")).unwrap();
    println!("listens");
    for stream in listener.incoming() {
        let mut stream = stream.unwrap();
        let mut first = String::new();
        let mut lines = BufReader::new(stream.try_clone().unwrap());
        lines.read_line(&mut first).unwrap();
        let mut line = String::new();
        while lines.read_line(&mut line).unwrap_or(0) > 2 {
            line.clear();
        }
        let path = first.split(' ').nth(1).unwrap_or_default().to_owned();
        let text = format!("{path} {}", variable("GREETING"));
        write!(
            stream,
            "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{text}",
            text.len()
        )
        .unwrap();
    }
}

fn main() {
    let port = variable("PORT");
    if !port.is_empty() {
        return serve(&port);
    }
    let worker = variable("RUNPOD_POD_ID");
    let take = variable("RUNPOD_WEBHOOK_GET_JOB").replace("$ID", &worker) + "&job_in_progress=0";
    let done = variable("RUNPOD_WEBHOOK_POST_OUTPUT").replace("$RUNPOD_POD_ID", &worker);
    println!("takes jobs");
    loop {
        let (status, job) = ask("GET", &take, "");
        if status != 200 {
            continue;
        }
        let id = job.split_once("\"id\":\"").unwrap().1.split('"').next().unwrap().to_owned();
        eprintln!("has {id}");
        if job.contains("\"die\"") {
            std::process::exit(3);
        }
        let output = format!("{{\"output\":{{\"greeting\":\"{}\",\"job\":{job}}}}}", variable("GREETING"));
        ask("POST", &(done.replace("$ID", &id) + "&isStream=false"), &output);
    }
}
