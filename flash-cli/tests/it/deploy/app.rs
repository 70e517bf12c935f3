//! The app of the tests of `flash deploy`: it says of which version it is, and can be told to break.
use std::time::Duration;

use flash_sdk::{
    Bytes, Multipart, Result, TypedHeader,
    headers::UserAgent,
    http::{Request, Response, StatusCode},
    remote,
};
use futures_util::Stream;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Changed by tests: what tells one build from another.
const VERSION: &str = "one";

/// What is said.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Greeting {
    /// The words.
    pub text: String,
    /// Of the app.
    pub version: String,
}

/// Greets.
#[remote(worker = "greeter", cpu = Cpu3c_1_2, workers = 0..=3, idle_timeout = 60, request_count = 1)]
pub async fn greet(name: String) -> Result<Greeting> {
    tracing::info!("greeting {name}");
    Ok(Greeting { text: format!("hello, {name}"), version: VERSION.to_owned() })
}

/// Says its version once this file is there.
#[remote(worker = "greeter")]
pub async fn linger(until: String) -> Result<String> {
    while !std::path::Path::new(&until).exists() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(VERSION.to_owned())
}

/// What the worker finds in its environment.
#[remote(worker = "greeter")]
pub async fn variable(name: String) -> Result<Option<String>> {
    Ok(std::env::var(name).ok())
}

/// Runs a script of the shell, and says what it printed.
#[remote(worker = "greeter")]
pub async fn script(script: String) -> Result<String> {
    let output = std::process::Command::new("sh").args(["-c", &script]).output()?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Counts, a chunk a number.
#[remote(worker = "greeter")]
pub fn count(to: u32) -> impl Stream<Item = Result<u32>> {
    futures_util::stream::iter((1..=to).map(Ok))
}

/// Ends its worker after some last words.
#[remote(worker = "fragile", cpu = Cpu3c_1_2, workers = 0..=1, idle_timeout = 60)]
pub async fn crash(words: String) -> Result<()> {
    eprintln!("{words}");
    std::process::abort()
}

/// Over HTTP, by another worker.
#[remote(worker = "front", cpu = Cpu3c_1_2, workers = 1..=2, method = GET, path = "/hello/{name}")]
pub async fn hello(name: String) -> Result<Greeting> {
    greet(name).await
}

/// Takes a form and a header.
#[remote(worker = "front", method = POST, path = "/photos")]
pub async fn add_photo(agent: TypedHeader<UserAgent>, form: Multipart) -> Result<String> {
    let photo = form.file("photo")?.data();
    Ok(format!("{}: {}, {} bytes", agent.as_str(), form.text("title")?, photo.len()))
}

/// Takes the request as it is, and answers as it likes.
#[remote(worker = "front", method = POST, path = "/hook")]
pub async fn hook(request: Request<Bytes>) -> Result<Response<Bytes>> {
    let (parts, body) = request.into_parts();
    let answer = Response::builder().status(StatusCode::ACCEPTED).header("x-method", parts.method.as_str());
    Ok(answer.body(body)?)
}

/// Works where its build is not broken.
pub struct Model;

#[remote(worker = "model", cpu = Cpu3c_1_2, workers = 0..=1, idle_timeout = 60)]
impl Model {
    #[init]
    async fn load() -> Result<Self> {
        if VERSION == "broken" {
            eprintln!("there is no model in this build");
            std::process::exit(3);
        }
        Ok(Self)
    }

    /// The length of a text.
    pub async fn length(&self, text: String) -> Result<usize> {
        Ok(text.len())
    }
}

#[flash_sdk::main]
async fn main() -> Result<()> {
    let greeting = greet("main".to_owned()).await?;
    println!("{} {}", greeting.text, greeting.version);
    Ok(())
}
