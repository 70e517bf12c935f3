//! The app of the tests of containers.
use std::time::{Duration, Instant};

use flash_sdk::{Error, Result, progress, remote};
use serde_json::{Value, json};

/// Says what it sees of the machine that it runs on.
#[remote(worker = "looker", cpu = Cpu3c_1_2, workers = 0..=1, idle_timeout = 600)]
#[expect(clippy::print_stdout, reason = "what a function prints is under test")]
pub async fn look() -> Result<Value> {
    let unreadable = |error: std::io::Error| Error::handler(format!("cannot look: {error}"));
    let mut root = Vec::new();
    for entry in std::fs::read_dir("/").map_err(unreadable)? {
        root.push(entry.map_err(unreadable)?.file_name().to_string_lossy().into_owned());
    }
    let variable = |name: &str| std::env::var(name).ok();
    println!("a look around");
    Ok(json!({
        "directory": std::env::current_dir().map_err(unreadable)?,
        "root": root,
        "process": std::process::id(),
        "parent": std::os::unix::process::parent_id(),
        "secret": variable("SECRET"),
        "lines": variable("LINES_OF_IT"),
        "home": variable("HOME"),
        "threads": variable("TOKIO_WORKER_THREADS"),
        "can_write": std::fs::write("/tmp/written", "x").is_ok(),
    }))
}

/// Has a worker that is soon not needed any more.
#[remote(worker = "visitor", cpu = Cpu3c_1_2, workers = 0..=1, idle_timeout = 1)]
pub async fn visit() -> Result<u32> {
    Ok(std::os::unix::process::parent_id())
}

/// Says that it is there, and ends after a while.
#[remote(worker = "holder", cpu = Cpu3c_1_2, workers = 0..=1, idle_timeout = 600)]
pub async fn hold(seconds: u64) -> Result<String> {
    progress("holding")?;
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    Ok("held".to_owned())
}

/// Says that it is there, and computes without a pause for others.
#[remote(worker = "holder")]
pub fn grind(seconds: u64) -> Result<()> {
    progress("grinding")?;
    let until = Instant::now() + Duration::from_secs(seconds);
    while Instant::now() < until {
        std::hint::spin_loop();
    }
    Ok(())
}

/// Takes this much memory, and uses it.
#[remote(worker = "glutton", cpu = Cpu3c_1_2, workers = 0..=1)]
pub fn devour(megabytes: usize) -> Result<usize> {
    let mut pieces = Vec::new();
    for _ in 0..megabytes {
        let mut piece = vec![0_u8; 1 << 20];
        // Memory that is only asked for costs nothing: each page is written to.
        piece.iter_mut().step_by(4096).for_each(|byte| *byte = 1);
        pieces.push(piece);
    }
    Ok(pieces.len())
}

/// A route, which has another container look.
#[remote(worker = "page", method = GET, path = "/look/{number}", cpu = Cpu3c_1_2, workers = 0..=1, idle_timeout = 600)]
pub async fn page(number: u32) -> Result<Value> {
    Ok(json!({ "number": number, "seen": look().await?, "parent": std::os::unix::process::parent_id() }))
}

/// A route that needs nobody else.
#[remote(worker = "page", method = GET, path = "/pages/{number}")]
pub async fn number(number: u32) -> Result<Value> {
    Ok(json!({ "number": number, "process": std::process::id() }))
}

#[flash_sdk::main]
async fn main() -> Result<()> {
    Ok(())
}
