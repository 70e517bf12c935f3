//! The attribute macros of `flash_sdk`. Use them through `flash_sdk`, which re-exports them.
//!
//! This file holds only the entry points. Tokens are parsed (`args`, `item`), checked into a model, and then
//! expanded (`expand`, which makes no decisions).
#![warn(unreachable_pub)]

mod args;
mod batch;
mod cron;
mod errors;
mod expand;
mod function;
mod hook;
mod item;
mod main_attribute;
mod part;
mod remote;
mod route;
mod router;
mod test_attribute;
#[cfg(test)]
mod tests;

use proc_macro::TokenStream;

/// Runs a function, or the methods of an `impl` block, on autoscaled workers.
///
/// ```ignore
/// use flash_sdk::{Result, remote};
///
/// /// Says hello.
/// #[remote(cpu = Cpu3c_1_2, workers = 0..=3)]
/// pub async fn hello(name: String) -> Result<String> {
///     Ok(format!("hello, {name}"))
/// }
///
/// async fn use_it() -> Result<()> {
///     let text = hello("Ada".to_owned()).await?; // runs on a worker
///     let job = hello::spawn("Ada".to_owned()).await?; // a job: wait for it later, or cancel it
///     let here = hello::local("Ada".to_owned()).await?; // always in this process
///     Ok(())
/// }
/// ```
///
/// # Settings
///
/// | key | value | default | limits |
/// |---|---|---|---|
/// | `worker` | name of the worker type, a string | the function's name; for an `impl`, the type's name in snake case | a letter, then letters, digits, `_` and `-`; at most 63 characters |
/// | `cpu` | a variant of `CpuInstance`, or a list in order of preference | | not with a GPU |
/// | `gpu` | a variant of `GpuPool`, or a list in order of preference | | not with a CPU |
/// | `gpu_types` | a variant of `GpuType`, or a list, with `gpu` or instead of it | none | not with a CPU |
/// | `vram_gib` | GB of memory that a worker needs on each GPU; workers share a GPU of this machine while their memory fits. Without `gpu` and `gpu_types`, it selects every pool with that much, cheapest first | estimated from `model`, else unknown | 1 to the memory of the GPUs, at most 180 |
/// | `gpu_count` | GPUs per worker | 1 | 1 to 8, only with a GPU |
/// | `workers` | `min..=max`, or `max` alone for `0..=max` | `0..=3` | `min` ≤ `max`, 1 ≤ `max` ≤ 1000 |
/// | `idle_timeout` | seconds without work before a worker above the minimum stops | 5 | 1 to 3600 |
/// | `execution_timeout` | maximum seconds per job | 600 | 1 to 604800 (7 days) |
/// | `start_timeout` | seconds that a worker may take to become ready | 420 on this machine, 900 on Runpod | 1 to 86400 |
/// | `max_concurrency` | jobs or requests that one worker runs at once | 1 for jobs, 64 for routes | 1 to 10000 |
/// | `queue_delay` | seconds a job waits before one more worker starts | 4, for jobs | 1 or more; not with `request_count` |
/// | `request_count` | one worker per this many requests, queued or running | 4, for routes | 1 or more; not with `queue_delay` |
/// | `buffer` | idle workers beyond what the load needs, while there is load | 0 | 1 to 1000, within the maximum of `workers` |
/// | `task` | no value: each job has a fresh worker, which ends after it | | only with hardware, `workers` from 0, `execution_timeout` (then 86400 by default) and `data_centers` |
/// | `data_centers` | a variant of `DataCenter`, or a list | anywhere | |
/// | `disk_gib` | GB of disk of a worker | 20 with a GPU, 10 per vCPU | 1 to 10000 |
/// | `shm_mib` | MiB of `/dev/shm` in its container | 64 | 1 to 1048576 |
/// | `model` | the model whose files an `#[init]` gets as `ModelDir`: `"org/name@revision"`, `"path:DIR"` or `"volume:NAME/DIR"` | none | |
/// | `files` | patterns of the files of the model that are needed, in which `*` stands for any characters | all | at most 64 |
/// | `resource` | a constant of type `ResourceConfig` | | replaces all the keys above |
/// | `retries` | attempts after the first, for errors that say they are retryable | none | 1 to 100; for jobs that do not stream; not on an `impl` |
/// | `backoff` | seconds before the second attempt, up to the longest wait between two: `1..=60` | `1..=60` | 1 to 86400, with `retries` |
/// | `retry_if` | a function or closure from `&E`, the function's error, to `bool`: `true` leads to another attempt, as if the error said so | | with `retries` |
/// | `schedule` | run it at these times: five fields of cron, or `@hourly`, `@daily`, `@weekly`, `@monthly`, `@yearly` | never | a job whose arguments are all `Option`; on a method, in `#[job(…)]` |
/// | `timezone` | the IANA name of the time zone of `schedule` | `"UTC"` | |
/// | `missed` | what happens to times that passed while no platform ran: `skip`, `once` or `all` | `skip` | |
/// | `overlap` | whether a run may start while the one before has not ended: `skip` or `allow` | `skip` | |
/// | `method` | `GET`, `POST`, `PUT`, `PATCH` or `DELETE` | none: takes jobs | with `path`; not on an `impl` |
/// | `path` | the route, a string | none: takes jobs | with `method`; not on an `impl` |
/// | `replay` | events that a streaming route keeps for a client that reconnects | none | 1 to 10000; with `method` and `path` |
/// | `http` | nothing, or a prefix, a string | none: takes jobs | alone; not on an `impl` |
/// | `openai` | nothing for the name of `model`; the name of a model, a string; or a list | none: takes jobs | not with `http`; not on an `impl` |
/// | `max_body_mib` | MiB of a body in each direction | 30 MB | 1 to 10240; for routes and routers |
/// | `request_timeout` | seconds until an answer is complete, or between two parts of a stream | 330; 600 with `openai` | 1 to 604800; for routes and routers |
///
/// Set the hardware once per worker type: with `cpu`, `gpu`, `gpu_types` or `vram_gib` here, or with a `resource`.
/// Other functions of the same worker type use `worker = "name"` alone, plus `method` and `path` for a route.
/// Numbers must be literals. To compute a setting, use a constant.
///
/// ```ignore
/// const PIPELINE: ResourceConfig = ResourceConfig::new("pipeline").cpu(CpuInstance::Cpu3c_1_2).workers(1..=3);
///
/// #[remote(resource = PIPELINE, method = POST, path = "/classify")]
/// pub async fn classify(text: String) -> Result<Verdict> { todo!() }
///
/// #[remote(worker = "pipeline", method = GET, path = "/verdicts/{id}")]
/// pub async fn verdict(id: u64, detail: Option<bool>) -> Result<Verdict> { todo!() }
/// ```
///
/// # Functions
///
/// A function returns `Result<T, E>`, or an alias of it, and takes up to eight arguments. Arguments are owned values
/// with plain names, without `#[cfg]`. `E` is `flash_sdk::Error`, any `std::error::Error`, `anyhow::Error`,
/// `Box<dyn Error>`, `String` or another type with `Display`. Arguments and results implement `Serialize`,
/// `DeserializeOwned`, `JsonSchema` and `Send`.
///
/// - An `async fn` runs on the worker's runtime, a plain `fn` on its blocking pool. Both are `async` for
///   callers.
/// - A plain `fn` that returns `impl Stream<Item = Result<T, E>> + Send` streams: the caller receives each chunk
///   as it is produced. Call it without `.await`.
///
/// The function cannot be generic, `const`, `unsafe` or `extern`. It must be in a module, not in the body of another
/// function. Attributes such as `#[tracing::instrument]` apply to its body, where it runs.
///
/// The attribute also creates a module with the function's name and visibility:
///
/// | | |
/// |---|---|
/// | `f::spawn(a, b)` | submits the call as a job and returns a `JobHandle`; not for routes |
/// | `f::map(items)` | a stream of `(index, Result<T>)` in order of completion, 16 calls at a time; waiting calls get workers at once, up to the maximum |
/// | `f::map_with(items, concurrency)` | the same, with the concurrency that you choose |
/// | `f::options()`, `f::at(environment)` | options, then `.call(a)`, `.spawn(a)`, `.map(items)`, `.stream(a)` |
/// | `f::handle(id)` | the `JobHandle` of a job that was submitted before |
/// | `f::local(a, b)` | runs in this process, wherever the function is deployed |
///
/// An item of `map` is the argument itself if the function takes one, and a tuple if it takes several. A function
/// without arguments has no `map`. A streaming function has only `options`, `at` and `local`.
///
/// # Routes
///
/// With `method` and `path`, a function answers HTTP requests instead of taking jobs. A worker type
/// has either routes or jobs. `{name}` in the path is the argument with that name, which cannot be an
/// `Option`. The other arguments come from the query for `GET` and `DELETE`, and from the JSON body otherwise.
/// `/ping`, `/execute`, `/docs`, `/openapi.json`, `/v2`, `/_flash` and everything below `/v2` and `/_flash` are
/// reserved.
///
/// # Routers
///
/// With `http`, a function takes no arguments and returns an `axum::Router`, or a `Result` of it. Its worker type answers
/// all paths that nothing else takes with this router, or with `http = "/chat"` those at and below `/chat`. The
/// function has no call form: it returns the router.
///
/// ```ignore
/// #[remote(worker = "site", cpu = Cpu3c_1_2, http)]
/// fn site() -> axum::Router {
///     axum::Router::new().route("/hello/{name}", axum::routing::get(hello))
/// }
/// ```
///
/// # Methods
///
/// On the `impl` block of a type, the attribute turns the whole block into one worker type. The constructor
/// marked `#[init]` may be `async`, takes no arguments, returns `Self` or `Result<Self>`, and runs once per
/// worker before the worker takes work. Each method that is `pub` (or `pub(…)`) and takes `&self` is a function.
/// Everything else in the block is unchanged.
///
/// ```ignore
/// #[remote(gpu = Ada24, workers = 0..=2)]
/// impl Sentiment {
///     #[init]
///     fn load() -> Result<Self> { todo!() }
///
///     pub async fn classify(&self, text: String) -> Result<Verdict> { todo!() }
/// }
///
/// let verdict = Sentiment::classify(text).await?; // no value needed: the worker has it
/// let job = Sentiment::classify_spawn(text).await?;
/// ```
///
/// Callers have no value of the type, so they call its functions without one. So do other methods of the block;
/// put code that they share into a private method. `classify` also gets `classify_spawn`, `classify_map`,
/// `classify_map_with` and `classify_local`. The method itself is `classify_on`: a test calls it on a value of its own,
/// as in `Sentiment { model }.classify_on(text).await`. `#[route(method = POST, path = "/classify")]` makes a method a
/// route, and `#[job(retries = 3)]` sets what is set for one function. `#[http]`, or `#[http = "/chat"]`, marks the
/// method that returns the worker type's router, and `#[openai = "smollm2-135m"]` the one that returns its models. A method takes `&self` or `self: Arc<Self>`, and may stream.
/// `#[health]` on a method with `&self` that returns `Result<()>` has the worker ask it every few seconds whether it is
/// well, and `#[exit]` on one that returns nothing or `Result<()>` runs when the worker stops; neither is a function for
/// callers. A type can have one such block, and must be `Send` and `Sync`.
#[proc_macro_attribute]
pub fn remote(args: TokenStream, item: TokenStream) -> TokenStream {
    remote::expand_remote(args.into(), item.into()).into()
}

/// Makes `main` the entry point of a Flash app.
///
/// Environment variables tell the binary its role: to be a worker of one type, or to describe itself to the CLI.
/// Without a role, it runs this function on a multi-threaded runtime.
///
/// ```ignore
/// #[flash_sdk::main]
/// async fn main() -> flash_sdk::Result<()> {
///     println!("{}", hello("Ada".to_owned()).await?);
///     Ok(())
/// }
/// ```
///
/// `main` may be `async` and takes no arguments. It returns nothing, an `ExitCode`, or `Result<(), E>`
/// with any error that a `#[remote]` function may return. `flash` does not run a binary whose `main` lacks this
/// attribute. The attribute takes no arguments.
#[proc_macro_attribute]
pub fn main(args: TokenStream, item: TokenStream) -> TokenStream {
    main_attribute::expand_main(args.into(), item.into()).into()
}

/// Runs an async test, with fakes of its own.
///
/// It needs no other runtime crate. Fakes made in the test ([`testing::fake`](testing/fn.fake.html)) answer the calls
/// of this test only, so tests run in parallel.
///
/// ```ignore
/// use flash_sdk::testing::fake;
///
/// #[flash_sdk::test]
/// async fn the_summary_names_the_sentiment() -> flash_sdk::Result<()> {
///     let judge = fake(Sentiment::judge, |text| async move { Ok(Verdict::positive(text)) });
///     assert_eq!(summarize("Great!".to_owned()).await?, "positive: Great!");
///     assert_eq!(judge.inputs(), ["Great!"]);
///     Ok(())
/// }
/// ```
///
/// The test is an `async fn` without arguments and returns what a `#[test]` may return. It runs on a single-threaded
/// tokio runtime of its own. Other attributes, such as `#[ignore]` and `#[should_panic]`, work as usual. The attribute
/// takes no arguments. For a test on another runtime, see [`testing::scope`](testing/fn.scope.html).
#[proc_macro_attribute]
pub fn test(args: TokenStream, item: TokenStream) -> TokenStream {
    test_attribute::expand_test(args.into(), item.into()).into()
}
