//! What `docs/coming-from.md` says in Rust: each piece of code in its tables is here, so it compiles.
#![cfg(feature = "axum")]
#![allow(dead_code, clippy::unused_async, clippy::unwrap_used, reason = "an example of each form")]

use std::{sync::Arc, time::Duration};

use flash_sdk::{
    Bytes, Context, Error, Priority, Result,
    axum::{Router, routing::get},
    progress, remote,
    stream::{self, Stream, StreamExt as _, TryStreamExt as _},
    testing::fake,
};

#[remote(worker = "x", gpu = Ada24, workers = 0..=3)]
async fn generate(prompt: String) -> Result<String> {
    Ok(prompt)
}

#[remote(cpu = Cpu3c_1_2)]
async fn hello(name: String) -> Result<String> {
    Ok(name)
}

#[remote(worker = "api", cpu = Cpu3c_1_2, method = POST, path = "/generate")]
async fn generate_route(prompt: String) -> Result<String> {
    generate(prompt).await
}

#[remote(gpu = Ada24, workers = 1..=3, idle_timeout = 60, buffer = 1, execution_timeout = 600, max_concurrency = 8)]
async fn scaled(prompt: String) -> Result<String> {
    Ok(prompt)
}

#[remote(cpu = Cpu3c_1_2, retries = 3, backoff = 1..=60)]
async fn fetch(url: String) -> Result<String> {
    Err(Error::retryable(url))
}

#[remote(cpu = Cpu3c_1_2, schedule = "0 3 * * *", timezone = "Europe/Berlin")]
async fn nightly() -> Result<()> {
    Ok(())
}

#[remote(gpu = Ada24, task, execution_timeout = 259200)]
async fn train(epochs: u32) -> Result<()> {
    for epoch in 0..epochs {
        progress(epoch)?;
    }
    Ok(())
}

#[remote(worker = "site", cpu = Cpu3c_1_2, http)]
fn site() -> Router {
    Router::new().route("/", get(async || "hello"))
}

#[remote(worker = "tokens", cpu = Cpu3c_1_2)]
fn tokens(prompt: String) -> impl Stream<Item = Result<String>> + Send {
    stream::blocking(move |sink| {
        sink.send(prompt)?;
        Ok(())
    })
}

#[remote(worker = "resized", cpu = Cpu3c_1_2)]
async fn resize(photo: Bytes) -> Result<Bytes> {
    Ok(photo)
}

struct Model;

#[remote(worker = "model", gpu = Ada24)]
impl Model {
    #[init]
    fn load() -> Result<Self> {
        Ok(Self)
    }

    #[health]
    fn is_well(&self) -> Result<()> {
        Ok(())
    }

    #[exit]
    fn close(&self) {}

    pub async fn judge(&self, text: String) -> Result<String> {
        Ok(text)
    }

    #[batch(max = 32, wait_ms = 10)]
    pub fn embed(&self, items: Vec<String>) -> Vec<Result<Vec<f32>>> {
        items.iter().map(|_| Ok(Vec::new())).collect()
    }

    #[job(retries = 3)]
    pub async fn store(self: Arc<Self>, text: String) -> Result<()> {
        drop(text);
        Ok(())
    }
}

async fn calls() -> Result<()> {
    let prompt = || "a cat".to_owned();
    let prompts = || [prompt()];
    generate(prompt()).await?;
    generate::local(prompt()).await?;
    let job = generate::spawn(prompt()).await?;
    job.wait().await?;
    let job = generate::handle("job-id")?;
    job.cancel().await?;
    generate::map(prompts()).for_each(async |(_index, _result)| {}).await;
    let _all: Vec<String> = generate::options().map_ordered(prompts()).try_collect().await?;
    generate::options().timeout(Duration::from_secs(60)).priority(Priority::Low).call(prompt()).await?;
    generate::options().retries(5).idempotency_key("order-7").spawn(prompt()).await?;
    generate::at("production").call(prompt()).await?;
    let mut tokens = tokens(prompt());
    while let Some(token) = tokens.next().await {
        drop(token);
    }
    let any = flash_sdk::Endpoint::new("abc123def456");
    any.run_sync::<_, String>(&prompt()).await?;
    Model::judge(prompt()).await?;
    Model::embed(prompt()).await?;
    if let Some(call) = Context::current() {
        call.cancelled().await;
    }
    Ok(())
}

#[flash_sdk::test]
async fn a_call_is_faked() {
    fake(generate, |prompt| async move { Ok(prompt) });
    assert_eq!(generate("a cat".to_owned()).await.unwrap(), "a cat");
}

/// The Rust of the tables: the code of all cells but those of the first column, which shows other tools. The tests of
/// `flash-cli` check the commands, and the cells that begin with a section of `flash.toml`.
fn snippets(page: &str) -> Vec<&str> {
    let rows = page.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| there"));
    rows.flat_map(|row| row.split(" | ").skip(1))
        .filter(|cell| !cell.starts_with("`["))
        .flat_map(spans)
        .filter(|code| !code.starts_with("flash ") && !code.starts_with("cargo flash "))
        .collect()
}

/// The code of a text, without the names of links.
fn spans(text: &str) -> impl Iterator<Item = &str> {
    let parts: Vec<_> = text.split('`').collect();
    let spans = parts.windows(3).step_by(2).filter(|part| !part[2].starts_with("]("));
    spans.map(|part| part[1]).collect::<Vec<_>>().into_iter()
}

#[test]
fn all_code_of_the_page_is_code_that_compiles() {
    let squeezed = |text: &str| text.split_whitespace().collect::<String>();
    let here = squeezed(include_str!("coming_from.rs"));
    let page = include_str!("../../docs/coming-from.md");
    let mut text = page.lines().filter(|line| !line.starts_with("| "));
    assert!(text.all(|line| !line.contains('`')), "code outside of the tables is not checked");
    let codes = snippets(page);
    assert!(codes.len() > 50, "only {} pieces of code were found", codes.len());
    // Within a table, `|` is escaped.
    let is_absent = |code: &&str| !here.contains(&squeezed(&code.replace("\\|", "|")));
    let absent: Vec<_> = codes.into_iter().filter(is_absent).collect();
    assert!(absent.is_empty(), "these are not in this file: {absent:#?}");
}
