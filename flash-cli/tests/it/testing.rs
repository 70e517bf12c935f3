//! The tests of an app: `flash_sdk::testing::Platform`, which starts the real `flash`.
use std::path::Path;

use crate::support::{Finished, SOON, cargo, crate_of, is_alive, wait_for};

const LIBRARY: &str = r#"
use flash_sdk::{Result, remote};
use futures_util::{Stream, stream};

#[remote(worker = "texts", cpu = Cpu3c_1_2)]
pub async fn shout(text: String) -> Result<String> {
    println!("shouting {text}");
    Ok(text.to_uppercase())
}

#[remote(worker = "texts")]
pub fn letters(text: String) -> impl Stream<Item = Result<char>> + Send {
    stream::iter(text.chars().map(Ok).collect::<Vec<_>>())
}

#[remote(worker = "texts")]
pub async fn process() -> Result<u32> {
    Ok(std::process::id())
}

#[remote(worker = "site", cpu = Cpu3c_1_2, method = GET, path = "/processes/{number}")]
pub async fn site(number: u32) -> Result<(u32, u32)> {
    Ok((number, std::process::id()))
}
"#;

const MAIN: &str = r#"
use tested_app as _;

#[flash_sdk::main]
async fn main() {}
"#;

const TESTS: &str = r#"
use flash_sdk::{ErrorKind, Result, testing::{self, Platform, fake}};
use futures_util::StreamExt as _;
use tested_app::{letters, process, shout, site};

#[flash_sdk::test]
async fn calls_go_to_the_platform_as_long_as_it_is_there() -> Result<()> {
    let own = std::process::id();
    assert_eq!(process().await?, own);
    let platform = Platform::start().await?;

    let worker = process().await?;
    assert_ne!(worker, own);
    std::fs::write(std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("worker"), worker.to_string()).unwrap();
    assert_eq!(shout::spawn("a".to_owned()).await?.wait().await?, "A");
    let letters: Vec<_> = letters("ab".to_owned()).map(Result::unwrap).collect().await;
    assert_eq!(letters, ['a', 'b']);
    let (number, site) = site(7).await?;
    assert!(number == 7 && ![own, worker].contains(&site), "a route, on a worker type of its own");

    let faked = fake(shout, |_| async { Ok("faked".to_owned()) });
    assert_eq!(shout("a".to_owned()).await?, "faked");
    assert_eq!(faked.calls(), 1);
    assert_eq!(testing::scope(process()).await?, own, "another test");
    assert_eq!(testing::scope(platform.scope(process())).await?, worker, "another test that uses this platform");

    assert!(platform.url().starts_with("http://127.0.0.1:"), "{platform:?}");
    drop(platform);
    assert_eq!(process().await?, own);
    Ok(())
}

#[flash_sdk::test]
async fn what_flash_says_is_in_the_error() {
    let error = Platform::start_in("/").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NoWorker);
    assert!(error.message().contains("no Cargo.toml"), "{error}");
    panic!("after {error}");
}
"#;

/// A run of `cargo test` for this crate.
fn cargo_test(directory: &Path) -> Finished {
    let mut command = cargo(&["test", "--offline", "--test", "app"]);
    command.current_dir(directory).env("FLASH_BIN", env!("CARGO_BIN_EXE_flash"));
    Finished::of(command.output().unwrap())
}

#[test]
fn a_test_starts_its_app_on_a_platform_that_leaves_nothing_behind() {
    let files = [
        ("src/lib.rs", LIBRARY),
        ("src/main.rs", MAIN),
        ("tests/app.rs", TESTS),
        (".env", "FLASH_API_KEY=k\n"),
    ];
    let app = crate_of("tested-app", &files);
    let tested = cargo_test(app.path());
    assert!(
        tested.stdout.contains("test calls_go_to_the_platform_as_long_as_it_is_there ... ok"),
        "{tested:#?}"
    );
    // The other test fails on purpose, to show its output, and the output of `flash` in it.
    assert!(tested.stdout.contains("test result: FAILED. 1 passed; 1 failed"), "{tested:#?}");
    let (_, shown) = tested.stdout.split_once("---- what_flash_says_is_in_the_error stdout").unwrap();
    assert!(shown.contains("after `flash run` ended before it served / (exit status: 2)"), "{shown}");

    let worker: i32 = std::fs::read_to_string(app.path().join("worker")).unwrap().parse().unwrap();
    wait_for("the end of the worker", SOON, || match is_alive(worker) {
        true => Err(format!("{worker} still runs")),
        false => Ok(()),
    });
    let left: Vec<_> = std::fs::read_dir(app.path().join(".flash/run")).unwrap().flatten().collect();
    assert!(left.is_empty(), "{left:?}");
}
