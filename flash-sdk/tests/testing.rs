//! Tests as users write them: fakes, and methods on a value of their own.
#![deny(warnings, missing_docs, clippy::all, unused_qualifications, unreachable_pub, unsafe_code)]

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::Duration,
};

use flash_sdk::{
    Context, Error, ErrorKind, Result, remote,
    testing::{self, fake},
};
use futures_util::{Stream, StreamExt as _, stream};
use tokio::sync::Barrier;

/// Needs a GPU.
#[remote(gpu = Ada24)]
async fn sentiment(text: String) -> Result<String> {
    Err(Error::handler(format!("no GPU for `{text}`")))
}

/// Takes several arguments, and blocks.
#[remote(worker = "sums", cpu = Cpu3c_1_2)]
#[deprecated = "its name is long"]
fn sum_of_both(left: u32, right: u32) -> std::result::Result<u32, String> {
    Ok(left + right)
}

/// Takes no argument, and answers with an alias of `Result`.
#[remote(worker = "sums")]
async fn nothing() -> anyhow::Result<()> {
    anyhow::bail!("never called for real")
}

/// Streams.
#[remote(worker = "sums")]
fn words(text: String) -> impl Stream<Item = Result<String>> + Send {
    stream::iter(text.split(' ').map(|word| Ok(word.to_owned())).collect::<Vec<_>>())
}

/// Calls another function directly.
#[remote(worker = "summaries", cpu = Cpu3c_1_2)]
async fn summary(text: String) -> Result<String> {
    Ok(format!("{}: {text}", sentiment(text.clone()).await?))
}

/// Calls it from the blocking pool.
#[remote(worker = "summaries")]
fn blocking_summary(text: String) -> Result<String> {
    tokio::runtime::Handle::current().block_on(summary(text))
}

/// Calls it as a job.
#[remote(worker = "summaries")]
async fn spawned_summary(text: String) -> Result<String> {
    sentiment::spawn(text).await?.wait().await
}

/// Calls it as a `map`.
#[remote(worker = "summaries")]
async fn summaries(texts: Vec<String>) -> Result<Vec<String>> {
    let mut all = vec![String::new(); texts.len()];
    let mut results = std::pin::pin!(sentiment::map_with(texts, 2));
    while let Some((at, result)) = results.next().await {
        all[at] = result?;
    }
    Ok(all)
}

/// Has a state that takes long to load.
struct Judge {
    threshold: usize,
}

#[remote(gpu = Ada24)]
impl Judge {
    #[init]
    async fn load() -> Result<Self> {
        Err(Error::handler("no GPU here"))
    }

    /// Whether the text is long.
    pub async fn is_long(&self, text: String) -> Result<bool> {
        Ok(text.len() > self.threshold)
    }

    /// The same, blocking, with an error of another type.
    pub fn check(&self, text: String) -> std::result::Result<(), String> {
        if text.len() > self.threshold { Ok(()) } else { Err(format!("`{text}` is short")) }
    }
}

fn text(text: &str) -> String {
    text.to_owned()
}

#[flash_sdk::test]
async fn a_fake_answers_direct_calls_jobs_maps_and_threads_of_the_functions_under_test() -> Result<()> {
    let faked = fake(sentiment, |text| async move { Ok(text.to_uppercase()) });
    assert_eq!(faked.calls(), 0);
    assert_eq!(sentiment(text("a")).await?, "A");
    assert_eq!(summary(text("b")).await?, "B: b");
    assert_eq!(blocking_summary(text("c")).await?, "C: c");
    assert_eq!(spawned_summary(text("d")).await?, "D");
    assert_eq!(summaries(vec![text("e"), text("f")]).await?, ["E", "F"]);
    assert_eq!(summary::spawn(text("g")).await?.wait().await?, "G: g");
    assert_eq!(faked.calls(), 7);
    assert_eq!(faked.inputs(), ["a", "b", "c", "d", "e", "f", "g"]);
    Ok(())
}

#[flash_sdk::test]
async fn inputs_are_as_map_takes_them_and_a_second_fake_replaces_the_first() -> Result<()> {
    #[expect(deprecated, reason = "what it is called is not tested")]
    let sum = fake(sum_of_both, |(left, right)| async move { Ok(left * right) });
    let unit = fake(nothing, |()| async { Ok(()) });
    #[expect(deprecated, reason = "what it is called is not tested")]
    let product = sum_of_both(3, 4).await?;
    assert_eq!((product, sum.inputs()), (12, vec![(3, 4)]));
    nothing().await?;
    assert_eq!(unit.inputs(), [()]);
    let failing = fake(nothing, |()| async { Err(Error::handler("not today")) });
    assert_eq!(nothing().await.unwrap_err().message(), "not today");
    assert_eq!((unit.calls(), failing.calls()), (1, 1));
    Ok(())
}

#[flash_sdk::test]
async fn a_fake_of_a_streaming_function_streams() -> Result<()> {
    let faked = fake(words, |text| stream::iter([Ok(text), Err(Error::handler("full"))]));
    let chunks: Vec<_> = words(text("a b")).collect().await;
    assert_eq!(chunks[0].as_deref().unwrap(), "a b");
    assert_eq!(chunks[1].as_ref().unwrap_err().message(), "full");
    assert_eq!((chunks.len(), faked.inputs()), (2, vec![text("a b")]));
    assert_eq!(words::local(text("a b")).count().await, 2, "its own code");
    Ok(())
}

#[flash_sdk::test]
async fn fakes_fail_panic_and_stall_as_functions_do() {
    fake(sentiment, |text| async move {
        match text.as_str() {
            "panic" => panic!("out of memory"),
            "stall" => std::future::pending().await,
            _ => Err(Error::invalid_input("/text", "too short")),
        }
    });
    let error = summary(text("x")).await.unwrap_err();
    assert_eq!((error.kind(), error.stage()), (ErrorKind::InvalidInput, Some("sentiment/sentiment")));
    let error = summary(text("panic")).await.unwrap_err();
    assert_eq!((error.kind(), error.stage()), (ErrorKind::Panic, Some("sentiment/sentiment")));
    assert!(error.message().contains("out of memory"), "{error}");
    // It never ends, however long it is waited for.
    let stalled = tokio::time::timeout(Duration::from_millis(1), summary(text("stall"))).await;
    assert!(stalled.is_err());

    fake(words, |_| -> stream::Empty<_> { panic!("not even one") });
    let chunks: Vec<_> = words(text("a")).collect().await;
    let error = chunks[0].as_ref().unwrap_err();
    assert!(error.message().contains("not even one"), "{error}");
}

#[flash_sdk::test]
async fn a_method_is_faked_by_its_path_and_its_value_is_not_loaded() -> Result<()> {
    assert!(Judge::is_long(text("a")).await.unwrap_err().message().contains("no GPU"));
    let faked = fake(Judge::is_long, |text| async move { Ok(text == "long") });
    assert!(Judge::is_long(text("long")).await?);
    assert!(!Judge::is_long_spawn(text("short")).await?.wait().await?);
    assert_eq!(faked.calls(), 2);
    Ok(())
}

#[flash_sdk::test]
async fn a_method_can_be_called_on_a_value_made_by_hand() -> Result<()> {
    let judge = Judge { threshold: 3 };
    assert!(judge.is_long_on(text("four")).await?);
    assert!(!judge.is_long_on(text("two")).await?);
    assert_eq!(judge.check_on(text("two")), Err(text("`two` is short")));
    Ok(())
}

#[tokio::test]
async fn fakes_of_tests_that_run_at_once_do_not_meet() -> Result<()> {
    let both = Arc::new(Barrier::new(2));
    let test = |answer: &'static str| {
        let both = both.clone();
        tokio::spawn(testing::scope(async move {
            let faked = fake(sentiment, move |_| async move { Ok(text(answer)) });
            // Both fakes are there before either is called, and both are called before either test ends.
            both.wait().await;
            let summary = summary(text("x")).await;
            both.wait().await;
            assert_eq!(faked.calls(), 1);
            summary
        }))
    };
    let (one, two) = (test("one"), test("two"));
    assert_eq!(one.await.unwrap()?, "one: x");
    assert_eq!(two.await.unwrap()?, "two: x");
    assert!(
        sentiment(text("x")).await.unwrap_err().message().contains("no GPU"),
        "outside, nothing is faked"
    );
    Ok(())
}

#[flash_sdk::test]
async fn a_task_of_the_test_gets_its_fakes_with_the_context() -> Result<()> {
    let scope = || Context::current().expect("a test has a context");
    let inherited = tokio::spawn(scope().scope(sentiment(text("a"))));
    fake(sentiment, |_| async { Ok(text("faked")) });
    assert_eq!(inherited.await.unwrap()?, "faked");
    let alone = tokio::spawn(sentiment(text("a"))).await.unwrap();
    assert!(alone.is_err(), "without it, the task is not part of the test");
    let test = scope();
    let thread = std::thread::spawn(|| test.sync_scope(|| fake(nothing, |()| async { Ok(()) }).calls()));
    assert_eq!(thread.join().unwrap(), 0);
    nothing().await
}

#[test]
fn a_fake_that_nothing_would_call_is_refused() {
    let refused = |fake: fn()| {
        let caught = catch_unwind(AssertUnwindSafe(fake)).unwrap_err();
        caught.downcast_ref::<String>().cloned().unwrap_or_default()
    };
    let message = refused(|| drop(fake(sentiment, |_| async { Ok(String::new()) })));
    assert!(message.starts_with("a fake was made outside a test: put `#[flash_sdk::test]`"), "{message}");
    let message = refused(|| {
        testing::run(async { drop(fake(sentiment::local, |_| async { Ok(String::new()) })) });
    });
    assert!(message.contains("sentiment::local` is not a `#[remote]` function"), "{message}");
}

#[flash_sdk::test]
#[should_panic(expected = "as any test")]
async fn other_attributes_of_a_test_work() {
    panic!("as any test");
}

/// It is copied when it begins, once for each future that it is within.
#[test]
fn the_future_of_a_call_is_small() {
    let bytes = size_of_val(&sentiment(String::new()));
    assert!(bytes < 4096, "{bytes}");
}
