//! The attributes of `flash_sdk`, which re-exports them: use them from there.
//!
//! The doors only. Behind them tokens are parsed as written (`args`, `item`), checked into a model, and
//! expanded (`expand`, which decides nothing).
mod args;
mod errors;
mod expand;
mod function;
mod item;
mod main_attribute;
mod remote;
mod route;
#[cfg(test)]
mod tests;

use proc_macro::TokenStream;

/// Makes a function, or the methods of an `impl` block, run on autoscaled workers.
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
///     let text = hello("Ada".to_owned()).await?; // goes where the function lives
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
/// | `worker` | name of the worker type, a string | the function's name; of an `impl`, the type's name in snake case | a letter, then letters, digits, `_` and `-`; at most 63 |
/// | `cpu` | a variant of `CpuInstance`, or a list in order of preference | | not with a GPU |
/// | `gpu` | a variant of `GpuPool`, or a list in order of preference | | not with a CPU |
/// | `gpu_types` | a variant of `GpuType`, or a list, beside `gpu` or instead of it | none | not with a CPU |
/// | `vram_gib` | GB of GPU memory, instead of `gpu` and `gpu_types` | none | every pool with so much, the cheapest first; at most 180 |
/// | `gpu_count` | GPUs per worker | 1 | 1 to 8, with a GPU only |
/// | `workers` | `min..=max`, or `max` alone for `0..=max` | `0..=3` | `min` ≤ `max`, 1 ≤ `max` ≤ 1000 |
/// | `idle_timeout` | seconds without work after which a worker above the minimum stops | 5 | 1 to 3600 |
/// | `execution_timeout` | seconds that one job may run | 600 | 1 to 604800 (7 days) |
/// | `max_concurrency` | jobs or requests that one worker runs at a time | 1 for jobs, 64 for routes | 1 to 10000 |
/// | `queue_delay` | one more worker whenever a job has waited this many seconds | 4, for jobs | 1 or more; not with `request_count` |
/// | `request_count` | one worker per this many requests, queued or running | 4, for routes | 1 or more; not with `queue_delay` |
/// | `data_centers` | a variant of `DataCenter`, or a list | anywhere | |
/// | `resource` | a constant of type `ResourceConfig` | | instead of all the keys above |
/// | `method` | `GET`, `POST`, `PUT`, `PATCH` or `DELETE` | a job, no route | with `path`; not on an `impl` |
/// | `path` | the route, a string | a job, no route | with `method`; not on an `impl` |
///
/// Hardware is said once per worker type: `cpu`, `gpu` or `gpu_types` here, or a `resource`, or, for a
/// worker type that another function says in full, `worker = "name"` with nothing but a route beside it.
/// Numbers are literals; a computed configuration goes into a constant.
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
/// A function returns `Result<T, E>`, under whatever name, and takes up to eight arguments, which are owned and plain
/// names, without `#[cfg]`. `E` is `flash_sdk::Error`, any `std::error::Error`, `anyhow::Error`, `Box<dyn Error>`,
/// `String` or another type with `Display`. Arguments and results implement `Serialize`,
/// `DeserializeOwned`, `JsonSchema` and `Send`.
///
/// - An `async fn` runs on the worker's runtime, a plain `fn` on its blocking pool. Both are `async` for
///   callers.
/// - A plain `fn` that returns `impl Stream<Item = Result<T, E>> + Send` streams: its chunks
///   arrive at the caller as they come. Callers call it without `.await`.
///
/// The function cannot be generic, `const`, `unsafe` or `extern`, and it stands in a module, not in the
/// body of another function. Attributes such as `#[tracing::instrument]` apply to its body, where it runs.
///
/// Beside the function stands a module of the same name and visibility:
///
/// | | |
/// |---|---|
/// | `f::spawn(a, b)` | hands the call over as a job and gives a `JobHandle`; not for routes |
/// | `f::map(items)` | a stream of `(index, Result<T>)`, as results come, 16 calls at a time; those that wait get workers at once, up to the maximum |
/// | `f::map_with(items, concurrency)` | the same with a concurrency of your own |
/// | `f::local(a, b)` | runs in this process, wherever the function lives |
///
/// The items of a `map` are the argument of a function that takes one, and tuples otherwise; a function
/// without arguments has none. A function that streams has `local` only.
///
/// # Routes
///
/// With `method` and `path` a function answers HTTP requests itself instead of taking jobs. A worker type
/// has either routes or jobs. `{name}` in the path is the argument of that name, which cannot be an
/// `Option`; the other arguments come from the query for `GET` and `DELETE`, else from the JSON body.
/// `/ping`, `/execute`, `/docs`, `/openapi.json`, `/v2`, `/_flash` and all below these two are reserved.
///
/// # Methods
///
/// On the `impl` block of a type, the attribute makes a worker type of the whole block. The constructor
/// marked `#[init]`, `async` or not, takes nothing, returns `Self` or `Result<Self>`, and runs once per
/// worker before it takes work. Each method that is `pub` (or `pub(…)`) and takes `&self` is a function;
/// everything else in the block stays as it is.
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
/// Callers have no value of the type, so a function is called without one, also by other methods of the
/// block; what they share is best a private method. The companions of `classify` are `classify_spawn`,
/// `classify_map`, `classify_map_with` and `classify_local`. A method becomes a route by
/// `#[route(method = POST, path = "/classify")]`; it cannot stream. One type has one such block, and the
/// type is `Send` and `Sync`.
#[proc_macro_attribute]
pub fn remote(args: TokenStream, item: TokenStream) -> TokenStream {
    remote::expand_remote(args.into(), item.into()).into()
}

/// Makes `main` the entry of a Flash app.
///
/// The binary plays the role that its environment names: it is a worker of one type, or describes itself
/// to the CLI. Without a role it runs this function, on a multi-threaded runtime.
///
/// ```ignore
/// #[flash_sdk::main]
/// async fn main() -> flash_sdk::Result<()> {
///     println!("{}", hello("Ada".to_owned()).await?);
///     Ok(())
/// }
/// ```
///
/// `main` takes no arguments, is `async` or not, and returns nothing, an `ExitCode`, or `Result<(), E>`
/// with an error as a `#[remote]` function may have it. `flash` runs no binary whose `main` lacks this attribute. The attribute itself takes no arguments.
#[proc_macro_attribute]
pub fn main(args: TokenStream, item: TokenStream) -> TokenStream {
    main_attribute::expand_main(args.into(), item.into()).into()
}
