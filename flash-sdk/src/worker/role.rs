//! The role of this process, and its exit code.
use std::{process::ExitCode, sync::Arc, time::Duration};

use flash_protocol::{
    Error,
    manifest::{App, EndpointKind, EntryMark},
    variables,
};

use super::{
    exchange,
    health::Health,
    http,
    job::Functions,
    lifecycles::Lifecycles,
    log, measured, pod, processor, queue,
    settings::{Settings, WorkSource},
    shutdown::Shutdown,
};
#[cfg(feature = "otel")]
use crate::traces::Sending;
use crate::{
    call::{self, Peers},
    context::{self, ThisWorker},
    descriptor::Registered,
    registry::{Registry, RegistryError},
};

/// The user's package, from `#[flash_sdk::main]`.
#[derive(Debug, Clone, Copy)]
pub struct AppInfo {
    /// Package name.
    pub name: &'static str,
    /// Package version.
    pub version: &'static str,
    /// Identifies the binary without running it.
    pub mark: &'static EntryMark,
}

/// What the user's `main` may return.
pub trait IntoExit {
    /// The exit code. Prints the error, if there is one.
    fn into_exit(self) -> ExitCode;
}

impl IntoExit for () {
    fn into_exit(self) -> ExitCode {
        ExitCode::SUCCESS
    }
}

impl IntoExit for ExitCode {
    fn into_exit(self) -> ExitCode {
        self
    }
}

impl<E: Into<Error>> IntoExit for Result<(), E> {
    fn into_exit(self) -> ExitCode {
        match self {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                report(&format!("error: {:#}", error.into()));
                ExitCode::FAILURE
            }
        }
    }
}

/// The only function of a worker that prints: the reason why the process ends, on stderr.
#[expect(clippy::print_stderr, reason = "a worker's last words, before or after any logger lives")]
fn report(message: &str) {
    eprintln!("{message}");
}

/// Exit code if the app or its environment variables are not usable.
const UNUSABLE: u8 = 2;

enum Role {
    Describe,
    Worker,
    Pod,
    UserMain,
}

impl Role {
    fn from_env() -> Result<Self, String> {
        match variables::get(variables::ROLE).as_deref() {
            Some("describe") => Ok(Self::Describe),
            Some("worker") => Ok(Self::Worker),
            Some("pod") => Ok(Self::Pod),
            Some(other) => {
                Err(format!("{} is `{other}`, expected `describe`, `worker` or `pod`", variables::ROLE))
            }
            None if variables::get(variables::WORKER).is_some()
                || variables::get(variables::RUNPOD_GET_JOB).is_some() =>
            {
                Ok(Self::Worker)
            }
            None => Ok(Self::UserMain),
        }
    }
}

/// The whole life of an app binary.
pub fn main<F, Fut, R>(app: AppInfo, user_main: F) -> ExitCode
where
    F: FnOnce() -> Fut,
    Fut: Future<Output = R>,
    R: IntoExit,
{
    // Before anything that the compiler may have made of the processor's newest instructions.
    processor::check();
    run(app, user_main)
}

#[inline(never)]
fn run<F, Fut, R>(app: AppInfo, user_main: F) -> ExitCode
where
    F: FnOnce() -> Fut,
    Fut: Future<Output = R>,
    R: IntoExit,
{
    // Keeps the linker from removing the mark.
    std::hint::black_box(app.mark);
    call::name_app(app.name);
    let outcome = Role::from_env().and_then(|role| match role {
        Role::Describe => describe(app),
        Role::Worker => work(),
        Role::Pod => pod::run(),
        Role::UserMain => {
            call::settle(call::Process::Main { app: app.name.to_owned() });
            Ok(runtime(None)?.block_on(async {
                let exit = user_main().await.into_exit();
                end_values().await;
                exit
            }))
        }
    });
    outcome.unwrap_or_else(|problem| {
        report(&format!("error: {problem}"));
        ExitCode::from(UNUSABLE)
    })
}

/// How long the `#[exit]`s of the values that the user's `main` has used may take.
const EXIT_LIMIT: Duration = Duration::from_secs(30);

/// In the user's `main`, this process is the worker of all functions.
async fn end_values() {
    let functions: Vec<_> =
        inventory::iter::<Registered>.into_iter().map(|entry| (entry.function)()).collect();
    for failed in Lifecycles::of(&functions, None).exit(EXIT_LIMIT).await {
        report(&format!("error: {failed}"));
    }
}

fn registry() -> Result<Registry, String> {
    Registry::collect().map_err(|errors| listed(&errors))
}

fn listed(errors: &[RegistryError]) -> String {
    let lines: Vec<String> = errors.iter().map(ToString::to_string).collect();
    lines.join("\nerror: ")
}

fn describe(app: AppInfo) -> Result<ExitCode, String> {
    use std::io::Write as _;
    let registry = registry()?;
    registry.check_examples().map_err(|errors| listed(&errors))?;
    let manifest = registry.describe(App { name: app.name.to_owned(), version: app.version.to_owned() });
    let mut text = serde_json::to_string(&manifest).map_err(|error| error.to_string())?;
    text.push('\n');
    std::io::stdout()
        .write_all(text.as_bytes())
        .map_err(|error| format!("could not print the manifest: {error}"))?;
    Ok(ExitCode::SUCCESS)
}

fn runtime(threads: Option<u32>) -> Result<tokio::runtime::Runtime, String> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    if let Some(threads) = threads {
        builder.worker_threads(threads.max(1) as usize);
    }
    builder.enable_all().build().map_err(|error| format!("could not start the async runtime: {error}"))
}

/// The name of a secret that Runpod should have inserted but did not.
fn unresolved(value: &str) -> Option<&str> {
    value.trim().strip_prefix("{{")?.strip_suffix("}}")?.trim().strip_prefix("RUNPOD_SECRET_")
}

fn work() -> Result<ExitCode, String> {
    let settings = Settings::from_env()?;
    let functions = Arc::new(Functions::of(&registry()?, settings.worker.as_deref())?);
    context::become_worker(ThisWorker {
        id: settings.worker_id.clone(),
        nano_dollars_per_second: settings.nano_dollars_per_second,
    });
    let peers = call::settle(call::Process::Worker(functions.worker_type().name.clone()));
    let runtime = runtime(Some(settings.threads))?;
    #[cfg(not(feature = "otel"))]
    log::install(settings.log_level);
    #[cfg(feature = "otel")]
    let sending = spans(&settings, &functions, &runtime);
    measured::install();
    #[cfg(feature = "openai")]
    super::watched_models::watch();
    if let Some(secret) = variables::get(variables::RUNPOD_API_KEY).as_deref().and_then(unresolved) {
        tracing::warn!(
            "the account has no secret `{secret}`, so calls to other worker types will be refused: create it \
             in the console"
        );
    }
    let outcome = runtime.block_on(async {
        let (shutdown, health) = (Shutdown::on_signals(settings.drain)?, Health::default());
        tokio::select! {
            outcome = take_work(&settings, &functions, peers, &shutdown, &health) => outcome?,
            never = health.watch(functions.lifecycles(), &shutdown) => match never {},
        }
        match health.problem() {
            Some(problem) => Err(format!("unhealthy, so another worker should take its place: {problem}")),
            None => Ok(()),
        }
    });
    // While the runtime still runs, which sends them.
    #[cfg(feature = "otel")]
    sending.iter().for_each(Sending::close);
    outcome.map(|()| ExitCode::SUCCESS)
}

/// Installs the log, and what sends spans if the standard variables ask for it. A worker works without, too.
#[cfg(feature = "otel")]
fn spans(settings: &Settings, functions: &Functions, runtime: &tokio::runtime::Runtime) -> Option<Sending> {
    let worker_type = &functions.worker_type().name;
    let sending = Sending::from_env(worker_type, &settings.worker_id, runtime.handle().clone());
    let (sending, problem) = match sending {
        Ok(sending) => (sending, None),
        Err(problem) => (None, Some(problem)),
    };
    log::install(settings.log_level, sending.as_ref());
    if let Some(problem) = problem {
        tracing::warn!("no traces are sent: {problem}");
    }
    sending
}

/// Runs as a worker until it is asked to stop.
async fn take_work(
    settings: &Settings,
    functions: &Arc<Functions>,
    peers: Option<&'static Peers>,
    shutdown: &Shutdown,
    health: &Health,
) -> Result<(), String> {
    let (functions, shutdown) = (functions.clone(), shutdown.clone());
    match (&settings.source, functions.worker_type().kind) {
        (WorkSource::Exchange(exchange), EndpointKind::Queue) => {
            exchange::run_queue(exchange, settings, functions, peers, shutdown, health).await
        }
        (WorkSource::Exchange(exchange), EndpointKind::LoadBalanced) => {
            exchange::run_load_balanced(exchange, settings, functions, peers, shutdown, health).await
        }
        (_, EndpointKind::LoadBalanced) => {
            let server = http::Server::bind(settings, functions.clone()).await?;
            let outcome = server.run(functions.init(), shutdown.clone()).await;
            functions.exit(&shutdown).await;
            outcome
        }
        (WorkSource::Runpod(runpod), EndpointKind::Queue) => {
            queue::run(runpod, settings, functions, shutdown).await
        }
        (WorkSource::Missing, EndpointKind::Queue) => Err(format!(
            "worker type `{}` takes jobs, but neither {} nor {} is set: start it with `flash run` or on Runpod",
            functions.worker_type().name,
            variables::EXCHANGE_URL,
            variables::RUNPOD_GET_JOB,
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_to_a_secret_is_no_key() {
        assert_eq!(unresolved("{{ RUNPOD_SECRET_FLASH_API_KEY }}"), Some("FLASH_API_KEY"));
        assert_eq!(unresolved("{{RUNPOD_SECRET_A}}"), Some("A"));
        for key in ["rpa_0123", "{{ other }}", ""] {
            assert_eq!(unresolved(key), None, "{key}");
        }
    }
}
