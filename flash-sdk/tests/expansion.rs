//! The attribute as users write it, called in this process: no platform is configured here.
#![deny(warnings, missing_docs, clippy::all, unused_qualifications, unreachable_pub, unsafe_code)]

use std::{
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use flash_protocol::wire::job::JobStatus;
use flash_sdk::{
    __private::{Function, RemoteFunction, RemoteStream, Resource},
    Compute, Context, CpuInstance, Error, ErrorKind, JobHandle, Priority, ResourceConfig, Result, remote,
};
use futures_util::{Stream, StreamExt as _, stream};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A private type: a function that uses it can still be called `pub`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
struct Greeting {
    text: String,
}

const PIPELINE: ResourceConfig = ResourceConfig::new("pipeline").cpu(CpuInstance::Cpu3c_1_2).workers(1..=3);

const LINE_OF_HELLO: u32 = line!() + 6;

/// Says hello.
///
/// In one language.
#[remote(cpu = Cpu3g_2_8, workers = 0..=10, idle_timeout = 3, execution_timeout = 30, max_concurrency = 8)]
async fn hello(name: String, polite: Option<bool>) -> Result<Greeting> {
    let greeting = if polite == Some(true) { "good day" } else { "hello" };
    Ok(Greeting { text: format!("{greeting}, {name}") })
}

/// A route with a path parameter and a query.
#[remote(resource = PIPELINE, method = GET, path = "/items/{id}")]
async fn item(id: u64, detail: Option<bool>) -> Result<String> {
    Ok(format!("{id} {detail:?}"))
}

/// Configured by `item`.
#[remote(worker = "pipeline", method = POST, path = "/items")]
fn create_item(mut item: Greeting) -> Result<Greeting> {
    item.text.push('!');
    Ok(item)
}

/// Takes nothing, and fails with an error type of its own.
#[remote(gpu = [Ada24, Ampere24], gpu_types = [Rtx4090], gpu_count = 2, data_centers = EuRo1, queue_delay = 2)]
async fn parse_nothing() -> std::result::Result<u32, std::num::ParseIntError> {
    "".parse::<u32>()
}

/// A `Result` under another name.
type Res<T> = std::result::Result<T, String>;

/// Fails with an error that is none of `std`'s.
#[remote(worker = "errors", cpu = Cpu3c_1_2)]
async fn with_anyhow(number: String) -> anyhow::Result<u32> {
    anyhow::Context::context(number.parse::<u32>(), "no number")
}

/// Fails with a text.
#[remote(worker = "errors")]
fn with_text(number: u32) -> std::result::Result<u32, String> {
    if number > 0 { Ok(number) } else { Err("too small".to_owned()) }
}

/// Fails with whatever it is.
#[remote(worker = "errors")]
async fn with_box(number: String) -> std::result::Result<u32, Box<dyn std::error::Error>> {
    Ok(number.parse()?)
}

/// The same, on its way between threads.
#[remote(worker = "errors")]
fn with_shared_box(number: String) -> std::result::Result<u32, Box<dyn std::error::Error + Send + Sync>> {
    Ok(number.parse()?)
}

/// Says `Result` by another name.
#[remote(worker = "errors")]
async fn with_alias(number: u32) -> Res<Vec<u32>> {
    if number > 0 { Ok(vec![number]) } else { Err("too small".to_owned()) }
}

/// The same of `std`, where it blocks.
#[remote(worker = "errors")]
fn with_alias_of_std(fail: bool) -> std::fmt::Result {
    if fail { Err(std::fmt::Error) } else { Ok(()) }
}

/// Streams, and ends with an error that is none of `std`'s.
#[remote(worker = "errors")]
fn words_with_anyhow(text: String) -> impl Stream<Item = anyhow::Result<String>> {
    stream::iter([Ok(text), Err(anyhow::anyhow!("no more"))])
}

/// Loads with an error that is none of `std`'s.
struct Loaded;

#[remote(worker = "loaded", cpu = Cpu3c_1_2)]
impl Loaded {
    #[init]
    fn load() -> Res<Self> {
        Ok(Self)
    }

    /// Answers.
    pub async fn answer(&self, fail: bool) -> anyhow::Result<u32> {
        if fail { Err(anyhow::anyhow!("no answer")) } else { Ok(42) }
    }
}

/// Blocks its thread.
#[remote(worker = "pool", cpu = [Cpu3c_1_2, Cpu5c_1_2], request_count = 2)]
#[must_use]
fn double(#[allow(unused_mut)] mut number: u32) -> Result<u32> {
    Ok(number * 2)
}

/// Streams.
#[remote(cpu = Cpu3c_1_2)]
fn words(text: String) -> impl Stream<Item = Result<String>> {
    stream::iter(text.split(' ').map(|word| Ok(word.to_owned())).collect::<Vec<_>>())
}

/// Calls itself by its public name.
#[remote(cpu = Cpu3c_1_2)]
async fn countdown(from: u32) -> Result<u32> {
    if from == 0 { Ok(0) } else { countdown(from - 1).await }
}

/// Eight arguments, as many as there may be.
#[expect(clippy::too_many_arguments, reason = "as many as there may be")]
#[remote(cpu = Cpu3c_1_2)]
async fn eight(a: u8, b: u8, c: u8, d: u8, e: u8, f: u8, g: u8, r#type: u8) -> Result<u8> {
    Ok(a + b + c + d + e + f + g + r#type)
}

#[remote(cpu = Cpu3c_1_2)]
#[cfg(any())]
async fn left_out(gone: Gone) -> Result<Gone> {
    Ok(gone)
}

/// Functions of other visibility, with paths that start at their module.
pub mod nested {
    /// Like its module in name.
    pub mod inner {
        use flash_sdk::{Result, remote};

        /// A type beside the function.
        #[derive(Debug, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
        pub struct Label {
            /// Its text.
            pub text: String,
        }

        /// Named as its module, and public.
        #[remote(cpu = Cpu3c_1_2)]
        pub async fn inner(label: Label, second: super::Outer) -> Result<super::Outer> {
            Ok(super::Outer(label.text.len() + second.0))
        }

        /// Visible to the crate.
        #[remote(cpu = Cpu3c_1_2)]
        pub(crate) async fn shout(greeting: super::super::Greeting) -> Result<super::super::Greeting> {
            Ok(super::super::Greeting { text: greeting.text.to_uppercase() })
        }

        /// Visible to the parent.
        #[remote(cpu = Cpu3c_1_2)]
        pub(super) async fn whisper(text: String) -> Result<String> {
            Ok(text.to_lowercase())
        }
    }

    /// A type one module up.
    #[derive(Debug, PartialEq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
    pub struct Outer(pub usize);

    /// Uses what only this module sees.
    ///
    /// # Errors
    /// Never.
    pub async fn whispered() -> flash_sdk::Result<String> {
        let job = inner::whisper::spawn("Well".to_owned()).await?;
        let whisper = job.wait().await?;
        Ok(format!("{whisper} {}", inner::whisper("Done".to_owned()).await?))
    }
}

macro_rules! functions {
    ($($name:ident: $type:ty),*) => {$(
        /// Written by a macro.
        #[remote(worker = "written", cpu = Cpu3c_1_2)]
        async fn $name(value: $type) -> Result<$type> {
            Ok(value)
        }
    )*};
}

functions!(same_text: String, same_items: Vec<Option<u8>>);

static LOADS: AtomicU32 = AtomicU32::new(0);

/// Counts words, in a value that is made once.
pub struct Counter {
    bonus: usize,
}

#[remote(cpu = Cpu3c_1_2, workers = 2)]
impl Counter {
    const STEP: usize = 1;

    #[init]
    async fn load() -> Result<Self> {
        LOADS.fetch_add(1, Ordering::SeqCst);
        Ok(Self { bonus: 100 })
    }

    /// Number of words.
    pub async fn count(&self, text: String) -> Result<usize> {
        Ok(self.words(&text) + self.bonus)
    }

    /// The same on the blocking pool, with an error type of its own.
    pub fn count_lines(&self, text: String, skip: usize) -> std::result::Result<usize, std::fmt::Error> {
        if skip == 13 { Err(std::fmt::Error) } else { Ok(text.lines().skip(skip).count() * Self::STEP) }
    }

    /// Streams what borrows the value.
    pub fn steps(&self, to: usize) -> impl Stream<Item = Result<usize>> + Send {
        stream::iter(0..to).then(async |step| {
            if step == 3 { Err(Error::handler("no step 3")) } else { Ok(step * Self::STEP + self.bonus) }
        })
    }

    /// Streams from a thread that shares the value.
    pub fn steps_of_a_thread(self: Arc<Self>, to: usize) -> impl Stream<Item = Result<usize>> + Send {
        flash_sdk::stream::blocking(move |sink| (0..to).try_for_each(|step| sink.send(step + self.bonus)))
    }

    fn words(&self, text: &str) -> usize {
        text.split_whitespace().count()
    }
}

/// Answers on routes; its constructor neither waits nor fails.
struct Site;

#[remote(worker = "site", cpu = Cpu3c_1_2)]
impl Site {
    #[init]
    fn new() -> Self {
        Self
    }

    /// The front page.
    #[route(method = GET, path = "/")]
    pub async fn index(&self) -> Result<String> {
        Ok("front".to_owned())
    }

    /// The letters of a page.
    #[route(method = GET, path = "/pages/{name}/letters")]
    pub fn letters(&self, name: String) -> impl Stream<Item = Result<char>> + Send {
        stream::iter(name.chars().map(Ok).collect::<Vec<_>>())
    }

    /// A page by name.
    #[route(method = GET, path = "/pages/{name}")]
    pub fn page(&self, name: String) -> Result<String> {
        Ok(name)
    }
}

fn greeting(text: &str) -> Greeting {
    Greeting { text: text.to_owned() }
}

#[tokio::test]
async fn functions_answer_in_this_process() -> Result<()> {
    assert_eq!(hello("Ada".to_owned(), None).await?, greeting("hello, Ada"));
    assert_eq!(hello::local("Ada".to_owned(), Some(true)).await?, greeting("good day, Ada"));
    assert_eq!(item(7, Some(true)).await?, "7 Some(true)");
    assert_eq!(create_item(greeting("a")).await?, greeting("a!"));
    assert_eq!(double(21).await?, 42);
    assert_eq!(countdown(5).await?, 0);
    assert_eq!(eight(1, 1, 1, 1, 1, 1, 1, 1).await?, 8);
    Ok(())
}

#[tokio::test]
async fn any_error_type_converts() {
    let error = parse_nothing().await.unwrap_err();
    assert_eq!(
        (error.kind(), error.message()),
        (ErrorKind::Handler, "cannot parse integer from empty string")
    );
    let error = Counter::count_lines(String::new(), 13).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Handler);
}

#[tokio::test]
async fn common_error_types_and_aliases_convert_with_their_chain() -> Result<()> {
    let chain = |error: Error| format!("{}: {error:#}", error.kind());
    let number = || "x".to_owned();
    let digit = "invalid digit found in string";
    assert_eq!(chain(with_anyhow(number()).await.unwrap_err()), format!("handler: no number: {digit}"));
    assert_eq!(chain(with_box(number()).await.unwrap_err()), format!("handler: {digit}"));
    assert_eq!(chain(with_shared_box(number()).await.unwrap_err()), format!("handler: {digit}"));
    assert_eq!(chain(with_text(0).await.unwrap_err()), "handler: too small");
    assert_eq!(chain(with_alias(0).await.unwrap_err()), "handler: too small");
    assert_eq!(with_alias::spawn(7).await?.wait().await?, [7]);
    assert!(with_alias_of_std(true).await.is_err());
    with_alias_of_std(false).await?;
    assert_eq!(chain(Loaded::answer(true).await.unwrap_err()), "handler: no answer");
    assert_eq!(Loaded::answer(false).await?, 42);
    let chunks: Vec<_> = words_with_anyhow("a".to_owned()).map(|chunk| chunk.map_err(chain)).collect().await;
    assert_eq!(chunks, [Ok("a".to_owned()), Err("handler: no more".to_owned())]);
    Ok(())
}

#[tokio::test]
async fn a_spawned_call_is_waited_for_later() -> Result<()> {
    let job = hello::spawn("Ada".to_owned(), None).await?;
    assert_eq!(job.wait().await?, greeting("hello, Ada"));
    assert_eq!(Counter::count_spawn("a b".to_owned()).await?.wait().await?, 102);
    Ok(())
}

#[tokio::test]
async fn map_gives_each_result_with_the_index_of_its_item() {
    let mut doubled: Vec<_> =
        double::map([1, 2, 3]).map(|(at, result)| (at, result.unwrap())).collect().await;
    doubled.sort_unstable();
    assert_eq!(doubled, [(0, 2), (1, 4), (2, 6)]);
    let pairs = vec![("a".to_owned(), None), ("b".to_owned(), Some(true))];
    let texts: Vec<_> = hello::map_with(pairs, 1).map(|(_, result)| result.unwrap().text).collect().await;
    assert_eq!(texts, ["hello, a", "good day, b"]);
    let counts: Vec<_> =
        Counter::count_map_with(["a".to_owned()], 1).map(|(_, result)| result.unwrap()).collect().await;
    assert_eq!(counts, [101]);
}

#[tokio::test]
async fn options_are_given_to_any_kind_of_call() -> Result<()> {
    let minute = std::time::Duration::from_secs(60);
    let options = hello::options().timeout(minute).ttl(2 * minute).priority(Priority::Low);
    assert_eq!(options.clone().call(("Ada".to_owned(), None)).await?, greeting("hello, Ada"));
    let jobs = [
        options.clone().idempotency_key("a").spawn(("a".to_owned(), None)).await?,
        options.clone().spawn(("b".to_owned(), Some(true))).await?,
    ];
    let joined: Result<Vec<_>> = flash_sdk::join_all(jobs).await.into_iter().collect();
    assert_eq!(joined?, [greeting("hello, a"), greeting("good day, b")]);
    let mut doubled: Vec<_> =
        double::options().map([1, 2]).map(|(at, result)| (at, result.unwrap())).collect().await;
    doubled.sort_unstable();
    assert_eq!(doubled, [(0, 2), (1, 4)]);
    assert_eq!(Counter::count_options().call("a b".to_owned()).await?, 102);
    assert_eq!(item::options().timeout(minute).call((1, None)).await?, item(1, None).await?);
    let words: Vec<_> = words::options().ttl(minute).stream("a b".to_owned()).collect().await;
    assert_eq!(words.into_iter().collect::<Result<Vec<_>>>()?, ["a", "b"]);
    Ok(())
}

#[tokio::test]
async fn an_ordered_map_keeps_the_order_and_waits_for_the_slow() -> Result<()> {
    // The first ends last: each lets the one before it end.
    let order = waits_for_next::options().concurrency(4).map_ordered([0, 1, 2, 3]);
    let order: Vec<u32> = order.collect::<Vec<_>>().await.into_iter().collect::<Result<_>>()?;
    assert_eq!(order, [0, 1, 2, 3]);
    assert_eq!(ENDED.load(Ordering::SeqCst), 4);
    Ok(())
}

#[tokio::test]
async fn an_option_outside_its_limits_is_refused_and_the_shortest_is_the_deadline() {
    let second = std::time::Duration::from_secs(1);
    let refused = double::options().timeout(second).call(1).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Refused);
    assert!(refused.message().contains("`timeout` is 1s, expected 5s to 7 days"), "{refused}");
    let refused = words::options().ttl(second).stream(String::new()).next().await.unwrap().unwrap_err();
    assert!(refused.message().contains("`ttl` is 1s, expected 10s"), "{refused}");
    let left = time_left::options().timeout(30 * second).ttl(20 * second).call(()).await.unwrap();
    assert!((1..=20_000).contains(&left), "{left}");
}

#[tokio::test]
async fn without_a_platform_a_job_is_not_found_by_its_id() {
    let error = hello::handle("17").err().unwrap();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    for part in ["job `17`", "FLASH_ENV=NAME", "`hello`"] {
        assert!(error.message().contains(part), "{error}");
    }
    assert!(Counter::count_handle("17").is_err());
}

#[tokio::test]
async fn a_stream_is_called_without_waiting() -> Result<()> {
    let words: Vec<_> = words("a b c".to_owned()).collect().await;
    assert_eq!(words.into_iter().collect::<Result<Vec<_>>>()?, ["a", "b", "c"]);
    let mut steps: Vec<_> = Counter::steps(9).collect().await;
    let failure = steps.pop().and_then(Result::err).expect("the last item is the error");
    assert_eq!((failure.stage(), failure.message()), (Some("counter/Counter::steps"), "no step 3"));
    assert_eq!(steps.into_iter().collect::<Result<Vec<_>>>()?, [100, 101, 102]);
    let steps: Vec<_> = Counter::steps_local(2).collect().await;
    assert_eq!(steps.into_iter().collect::<Result<Vec<_>>>()?, [100, 101]);
    let steps: Vec<_> = Counter::steps_of_a_thread(50).collect().await;
    assert_eq!(steps.into_iter().collect::<Result<Vec<_>>>()?, (100..150).collect::<Vec<_>>());
    let chunks = words::local("a b".to_owned());
    assert_eq!(chunks.count().await, 2);
    Ok(())
}

#[tokio::test]
async fn the_value_of_an_impl_is_made_once() -> Result<()> {
    assert_eq!(Counter::count("a b c".to_owned()).await?, 103);
    assert_eq!(Counter::count_local("a".to_owned()).await?, 101);
    assert_eq!(Counter::count_lines("a\nb\nc".to_owned(), 1).await?, 2);
    assert_eq!(LOADS.load(Ordering::SeqCst), 1);
    Ok(())
}

#[tokio::test]
async fn methods_can_be_routes() -> Result<()> {
    assert_eq!(Site::index().await?, "front");
    assert_eq!(Site::page("about".to_owned()).await?, "about");
    Ok(())
}

#[tokio::test]
async fn paths_and_visibility_hold_in_nested_modules() -> Result<()> {
    let label = nested::inner::Label { text: "four".to_owned() };
    assert_eq!(nested::inner::inner::local(label, nested::Outer(1)).await?, nested::Outer(5));
    assert_eq!(nested::inner::shout(greeting("a")).await?, greeting("A"));
    assert_eq!(nested::whispered().await?, "well done");
    Ok(())
}

#[tokio::test]
async fn a_panic_in_a_blocking_function_is_an_error() {
    let error: Error = panics(1).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Panic);
}

#[tokio::test]
async fn a_panic_in_an_asynchronous_function_is_an_error_of_its_stage() {
    let error: Error = panics_later("boom".to_owned()).await.unwrap_err();
    assert_eq!((error.kind(), error.stage()), (ErrorKind::Panic, Some("panics_later/panics_later")));
    assert!(error.message().contains("boom"), "{error}");
}

/// Panics after a while.
#[remote(cpu = Cpu3c_1_2)]
async fn panics_later(message: String) -> Result<()> {
    tokio::task::yield_now().await;
    panic!("{message}")
}

/// Never ends.
#[remote(cpu = Cpu3c_1_2)]
async fn never(number: u32) -> Result<u32> {
    std::future::pending::<()>().await;
    Ok(number)
}

/// Runs on until it is told to stop.
#[remote(cpu = Cpu3c_1_2)]
fn stubborn(number: u32) -> Result<u32> {
    STARTED.fetch_add(1, Ordering::SeqCst);
    while !Context::current().is_some_and(|call| call.is_cancelled()) {
        std::thread::yield_now();
    }
    STOPPED.fetch_add(1, Ordering::SeqCst);
    Ok(number)
}

static STARTED: AtomicU32 = AtomicU32::new(0);
static STOPPED: AtomicU32 = AtomicU32::new(0);

async fn reached(count: &AtomicU32) {
    let wait = async {
        while count.load(Ordering::SeqCst) == 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(60), wait).await.expect("it should come to this");
}

/// What a job's handle says in the end, and what waiting for it gives.
async fn end_of<T: serde::de::DeserializeOwned>(job: JobHandle<T>) -> (JobStatus, Result<T>) {
    let until_it_ends = async {
        loop {
            match job.status().await.expect("a handle knows its status") {
                status if status.is_final() => return status,
                _ => tokio::task::yield_now().await,
            }
        }
    };
    let bound = std::time::Duration::from_secs(60);
    let status = tokio::time::timeout(bound, until_it_ends).await.expect("the job should end");
    (status, job.wait().await)
}

#[tokio::test]
async fn the_handle_of_a_job_in_process_says_how_it_ended() -> Result<()> {
    let (status, result) = end_of(hello::spawn("Ada".to_owned(), None).await?).await;
    assert_eq!((status, result?), (JobStatus::Completed, greeting("hello, Ada")));
    for (failed, kind) in [
        (end_of(panics::spawn(1).await?).await, ErrorKind::Panic),
        (end_of(parse_nothing::spawn().await?).await, ErrorKind::Handler),
    ] {
        assert_eq!((failed.0, failed.1.unwrap_err().kind()), (JobStatus::Failed, kind));
    }
    let (status, result) = end_of(panics_later::spawn("boom".to_owned()).await?).await;
    assert_eq!((status, result.unwrap_err().kind()), (JobStatus::Failed, ErrorKind::Panic));

    let job = never::spawn(1).await?;
    assert_eq!(job.status().await?, JobStatus::InProgress);
    job.cancel().await?;
    assert_eq!(job.status().await?, JobStatus::Cancelled, "at once");
    assert_eq!(job.wait().await.unwrap_err().kind(), ErrorKind::Cancelled);

    let ended = hello::spawn("Ada".to_owned(), None).await?;
    while !ended.status().await?.is_final() {
        tokio::task::yield_now().await;
    }
    ended.cancel().await?;
    assert_eq!(ended.status().await?, JobStatus::Completed, "it had ended");
    assert_eq!(ended.wait().await?, greeting("hello, Ada"));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_job_in_process_tells_its_thread() -> Result<()> {
    let job = stubborn::spawn(1).await?;
    reached(&STARTED).await;
    job.cancel().await?;
    reached(&STOPPED).await;
    assert_eq!(job.wait().await.unwrap_err().kind(), ErrorKind::Cancelled);
    Ok(())
}

static ENDED: AtomicU32 = AtomicU32::new(0);

/// Ends when those after it have ended.
#[remote(cpu = Cpu3c_1_2)]
async fn waits_for_next(number: u32) -> Result<u32> {
    while ENDED.load(Ordering::SeqCst) < 3 - number {
        tokio::task::yield_now().await;
    }
    ENDED.fetch_add(1, Ordering::SeqCst);
    Ok(number)
}

/// Milliseconds until its caller gives up.
#[remote(cpu = Cpu3c_1_2)]
async fn time_left() -> Result<u64> {
    let left = Context::current().and_then(|context| context.time_left());
    left.and_then(|left| left.as_millis().try_into().ok()).ok_or_else(|| Error::handler("no deadline"))
}

/// Measures, not always well.
#[remote(cpu = Cpu3c_1_2)]
async fn measure(scale: f64) -> Result<Vec<Option<f64>>> {
    Ok(vec![Some(1.0), Some(1.0 / scale)])
}

/// Measures on and on.
#[remote(cpu = Cpu3c_1_2)]
fn measures(scale: f64) -> impl Stream<Item = Result<f32>> {
    stream::iter([Ok(1.0), Ok(1.0 / scale as f32), Ok(2.0)])
}

#[tokio::test]
async fn a_value_without_a_json_form_is_an_error_in_process_too() -> Result<()> {
    assert_eq!(measure(2.0).await?, [Some(1.0), Some(0.5)]);
    let error = measure(0.0).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Encode);
    assert_eq!(error.message(), "the result cannot be written as JSON: `[1]`: infinity is not a JSON number");
    let error = measure(f64::NAN).await.unwrap_err();
    assert_eq!(error.message(), "argument `scale` cannot be written as JSON: NaN is not a JSON number");
    assert_eq!(measure::spawn(f64::NAN).await.err().map(|error| error.kind()), Some(ErrorKind::Encode));

    let chunks: Vec<_> = measures(0.0).collect().await;
    assert_eq!(chunks.len(), 2, "the failure is the last: {chunks:?}");
    let error = chunks[1].as_ref().unwrap_err();
    assert_eq!((error.kind(), error.stage()), (ErrorKind::Encode, Some("measures/measures")));
    assert!(error.message().contains("infinity"), "{error}");
    let first = measures(f64::NAN).boxed().next().await.unwrap();
    assert_eq!(first.unwrap_err().kind(), ErrorKind::Encode);
    assert_eq!(flash_sdk::progress(f32::NAN).unwrap_err().kind(), ErrorKind::Encode);
    Ok(())
}

/// Streams over a route: who is served, then an end of its own.
#[remote(worker = "pipeline", method = GET, path = "/ticks")]
fn ticks(ending: Option<String>) -> impl Stream<Item = Result<Option<String>>> {
    stream::iter(0..2).map(move |at| {
        assert!(at == 0 || ending.is_none(), "this is the end");
        Ok(Context::current().map(|call| call.request_id().to_owned()))
    })
}

#[tokio::test]
async fn a_route_that_streams_is_called_in_process() {
    let ids: Vec<_> = ticks(None).map(Result::unwrap).collect().await;
    assert!(ids.len() == 2 && ids[0].is_some() && ids[0] == ids[1], "{ids:?}");
    let items: Vec<_> = ticks(Some("panic".to_owned())).collect().await;
    let last = items.last().unwrap().as_ref().unwrap_err();
    assert_eq!((items.len(), last.kind(), last.stage()), (2, ErrorKind::Panic, Some("pipeline/ticks")));
}

/// Panics.
#[remote(cpu = Cpu3c_1_2)]
fn panics(number: u32) -> Result<u32> {
    assert_ne!(number, 1, "one will not do");
    Ok(number)
}

fn argument_names(function: &Function) -> Vec<&str> {
    function.arguments.iter().map(|argument| argument.name).collect()
}

#[test]
fn a_function_describes_itself() {
    let hello = __flash_hello::descriptor();
    assert_eq!((hello.name, hello.owner, hello.line), ("hello", None, LINE_OF_HELLO));
    assert_eq!((hello.module_path, hello.file), (module_path!(), file!()));
    assert_eq!(hello.docs.trim(), "Says hello.\n\nIn one language.");
    assert_eq!(argument_names(hello), ["name", "polite"]);
    let Resource::Declared(config) = hello.resource else { panic!("{hello:?}") };
    let expected = ResourceConfig::new("hello").cpu(CpuInstance::Cpu3g_2_8).workers(0..=10);
    assert_eq!(config, expected.idle_timeout(3).execution_timeout(30).max_concurrency(8));
    assert_eq!(argument_names(__flash_eight::descriptor())[7], "type");
}

#[test]
fn a_route_describes_itself() {
    let item = __flash_item::descriptor();
    let route = item.route.unwrap();
    assert_eq!((route.method, route.path), ("GET", "/items/{id}"));
    assert!(matches!(item.resource, Resource::Declared(PIPELINE)), "{item:?}");
    assert!(matches!(__flash_create_item::descriptor().resource, Resource::Named("pipeline")));
    assert!(__flash_words::descriptor().route.is_none());
}

#[test]
fn a_method_describes_itself() {
    let count = __flash_Counter_count::descriptor();
    assert_eq!((count.name, count.owner), ("count", Some("Counter")));
    let Resource::Declared(config) = count.resource else { panic!("{count:?}") };
    assert_eq!((config.name, config.workers_min, config.workers_max), ("counter", 0, 2));
    assert_eq!(config.compute, Some(Compute::Cpu(&[CpuInstance::Cpu3c_1_2])));
    assert!(count.lifecycle.is_some());
}

#[tokio::test]
async fn functions_can_be_written_by_macros() -> Result<()> {
    assert_eq!(same_text("a".to_owned()).await?, "a");
    assert_eq!(same_items::local(vec![None]).await?, [None]);
    Ok(())
}

static RUNS: AtomicU32 = AtomicU32::new(0);

/// Fails twice with an error that allows another attempt, if it is told so.
#[remote(worker = "retried", cpu = Cpu3c_1_2, retries = 2, backoff = 3..=5)]
async fn third_time(text: String, retryable: bool) -> Result<String> {
    match RUNS.fetch_add(1, Ordering::SeqCst) % 3 {
        2 => Ok(text),
        _ if retryable => Err(Error::retryable("busy")),
        _ => Err(Error::handler("broken")),
    }
}

#[tokio::test(start_paused = true)]
async fn a_retryable_error_is_followed_by_another_attempt_in_process_too() -> Result<()> {
    assert_eq!(third_time("a".to_owned(), true).await?, "a");
    assert_eq!(third_time::spawn("b".to_owned(), true).await?.wait().await?, "b");
    assert_eq!(RUNS.load(Ordering::SeqCst), 6);
    let error = third_time("c".to_owned(), false).await.unwrap_err();
    assert_eq!((error.message(), RUNS.load(Ordering::SeqCst)), ("broken", 7));
    assert_eq!(third_time::local("d".to_owned(), true).await.unwrap_err().message(), "busy");
    // Its caller decides: this would be the third time.
    let once = third_time::options().retries(0).call(("e".to_owned(), true)).await;
    assert_eq!((once?.as_str(), RUNS.load(Ordering::SeqCst)), ("e", 9));
    let once = third_time::options().retries(0).spawn(("f".to_owned(), true)).await?.wait().await;
    assert_eq!((once.unwrap_err().message(), RUNS.load(Ordering::SeqCst)), ("busy", 10));
    Ok(())
}

static READS: AtomicU32 = AtomicU32::new(0);

fn is_interrupted(error: &std::io::Error) -> bool {
    error.kind() == std::io::ErrorKind::Interrupted
}

/// Fails once, with an error of the standard library.
#[remote(worker = "judged", cpu = Cpu3c_1_2, retries = 1, retry_if = is_interrupted)]
fn second_read(kind: u32) -> std::io::Result<u32> {
    match (READS.fetch_add(1, Ordering::SeqCst) % 2, kind) {
        (0, 0) => Err(std::io::ErrorKind::Interrupted.into()),
        (0, _) => Err(std::io::ErrorKind::NotFound.into()),
        (again, _) => Ok(again),
    }
}

struct Reader;

#[remote(worker = "judged")]
impl Reader {
    #[init]
    fn open() -> Self {
        Self
    }

    #[job(retries = 1, retry_if = |error| error.message().contains("later"))]
    pub async fn at_attempt(&self, message: String) -> Result<u32> {
        match Context::current().map_or(1, |context| context.attempt()) {
            1 => Err(Error::handler(message)),
            attempt => Ok(attempt),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_predicate_of_a_function_judges_its_own_error_type() -> Result<()> {
    assert_eq!(second_read(0).await?, 1);
    assert!(!second_read(1).await.unwrap_err().is_retryable());
    assert_eq!(READS.load(Ordering::SeqCst), 3);
    assert_eq!(Reader::at_attempt("come later".to_owned()).await?, 2);
    assert_eq!(Reader::at_attempt("never".to_owned()).await.unwrap_err().message(), "never");
    Ok(())
}

mod mains {
    pub(super) mod waits {
        #[flash_sdk::main]
        pub(in super::super) async fn main() -> flash_sdk::Result<()> {
            let answer = crate::double(21).await?;
            if answer == 42 { Ok(()) } else { Err(flash_sdk::Error::handler("wrong")) }
        }
    }

    pub(super) mod fails {
        #[flash_sdk::main]
        pub(in super::super) fn main() -> Result<(), std::fmt::Error> {
            Err(std::fmt::Error)
        }
    }

    pub(super) mod fails_in_other_words {
        #[flash_sdk::main]
        pub(in super::super) async fn main() -> anyhow::Result<()> {
            anyhow::bail!("no")
        }
    }

    pub(super) mod says {
        use std::process::ExitCode;

        #[flash_sdk::main]
        pub(in super::super) async fn main() -> ExitCode {
            ExitCode::from(7)
        }
    }

    pub(super) mod says_nothing {
        #[flash_sdk::main]
        pub(in super::super) fn main() {}
    }
}

#[test]
fn the_result_of_main_is_the_exit_code() {
    let text = |code: ExitCode| format!("{code:?}");
    assert_eq!(text(mains::waits::main()), text(ExitCode::SUCCESS));
    assert_eq!(text(mains::fails::main()), text(ExitCode::FAILURE));
    assert_eq!(text(mains::fails_in_other_words::main()), text(ExitCode::FAILURE));
    assert_eq!(text(mains::says::main()), text(ExitCode::from(7)));
    assert_eq!(text(mains::says_nothing::main()), text(ExitCode::SUCCESS));
}

mod batches {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use flash_sdk::{Error, ErrorKind, Result, remote};
    use futures_util::future::join_all;
    use schemars::JsonSchema;
    use serde::{Deserialize, Serialize};

    static BATCHES: AtomicUsize = AtomicUsize::new(0);

    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
    struct Length {
        words: usize,
    }

    #[derive(Clone)]
    struct Words(Vec<String>);

    impl Words {
        fn len(&self) -> usize {
            self.0.len()
        }
    }

    struct Counter {
        factor: usize,
    }

    #[remote(worker = "batched", cpu = Cpu3c_1_2)]
    impl Counter {
        #[init]
        fn load() -> Self {
            Self { factor: 1 }
        }

        fn split(&self, text: String) -> Result<Words, String> {
            match text.is_empty() {
                true => Err("no words".to_owned()),
                false => Ok(Words(text.split(' ').map(str::to_owned).collect())),
            }
        }

        /// Counts words.
        #[batch(max = 8, budget = 64, cost = Words::len, padded, prepare = Self::split, wait_ms = 0)]
        pub fn count(&self, items: Vec<Words>) -> Vec<Result<Length>> {
            BATCHES.fetch_add(1, Ordering::SeqCst);
            assert!(items.iter().all(|words| words.0[0] != "panic"), "told to");
            items.iter().map(|words| Ok(Length { words: self.factor * words.len() })).collect()
        }

        /// Without preparation.
        #[batch(max = 4)]
        pub async fn double(
            &self,
            items: Vec<u32>,
        ) -> Vec<std::result::Result<u32, std::num::TryFromIntError>> {
            items.into_iter().map(|item| u32::try_from(u64::from(item) * 2)).collect()
        }
    }

    #[tokio::test]
    async fn a_caller_passes_one_item_and_gets_its_own_result() {
        assert_eq!(Counter::count("two words".to_owned()).await.unwrap(), Length { words: 2 });
        assert_eq!(Counter::double(21).await.unwrap(), 42);
        let too_large = Counter::double(u32::MAX).await.unwrap_err();
        assert_eq!(too_large.kind(), ErrorKind::Handler);
    }

    #[tokio::test]
    async fn what_is_refused_or_panics_fails_alone() {
        let texts = ["a", "", "panic now", "b c", "d e f"];
        let results = join_all(texts.map(|text| Counter::count(text.to_owned()))).await;
        let told: Vec<_> = results
            .iter()
            .map(|result| result.as_ref().map(|length| length.words).map_err(Error::kind))
            .collect();
        assert_eq!(told, [Ok(1), Err(ErrorKind::Handler), Err(ErrorKind::Panic), Ok(2), Ok(3)]);
        assert!(results[1].as_ref().unwrap_err().message().contains("no words"));
    }

    #[test]
    fn the_method_itself_can_be_tested_on_a_value() {
        let twice = Counter { factor: 2 };
        let results = twice.count_on(vec![Words(vec!["one".into()])]);
        assert_eq!(results[0].as_ref().unwrap(), &Length { words: 2 });
    }
}
