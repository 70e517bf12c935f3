//! The arguments of `flash call`, and its steps.
use std::{io::IsTerminal as _, path::PathBuf, time::Duration};

use clap::Args;
use flash_protocol::{
    catalogue::{NanoDollars, PriceList},
    credentials::Credentials,
    manifest::{FunctionEntry, Manifest},
    variables,
};
use flash_target::{EnvironmentId, ReleaseSpec, Target, TargetKind};

use super::{
    files,
    find::{self, Callee, find},
    input,
    report::{Reporter, ResultPrinting},
    route,
    send::{Answer, Caller, ChunkPrinting, Submission},
    words::Words,
};
use crate::{
    commands::{
        command::{Command, Context},
        scope::{Scope, ScopeArguments},
    },
    exit::{Code, Failure, FailureCode},
    output::{Format, Output},
};

/// How long to wait for a result beyond the function's time limit: a worker may have to start first.
const START_ALLOWANCE: Duration = Duration::from_secs(120);
/// The same in a cloud, where a machine may have to be found and the image pulled first.
const CLOUD_START_ALLOWANCE: Duration = Duration::from_secs(600);

/// Call a function of a deployed app.
///
/// FUNCTION is a name as in code (classify, Sentiment::classify), module/function, or a route (/classify, "POST
/// /classify"). The input is checked against the function's JSON schema before it is sent. A file is JSON or, for a
/// function that takes bytes, what they consist of; within JSON, \"@FILE\" stands for the bytes of a file. The result
/// goes to stdout; status, time, cost and request ID go to stderr. The key comes from FLASH_API_KEY, else from the
/// credential file.
#[derive(Args)]
#[command(
    override_usage = "flash call [OPTIONS] [ENV] FUNCTION [JSON | @FILE | @- | -]",
    after_help = "Examples:\n  flash call production preprocess_text '{\"text\": \"I love it!\"}'\n  \
                  flash call production /classify @input.json\n  \
                  echo '{\"to\": 3}' | flash call staging count - --stream\n  \
                  flash call production Sentiment::classify @clean.json --async\n  \
                  flash call production resize @photo.jpg -o small.jpg\n  \
                  flash call production rename '{\"name\": \"a\", \"file\": \"@photo.jpg\"}'\n\n\
                  Exit codes: 0 success; 1 the call failed; 2 no such function, or the input does not fit."
)]
pub(crate) struct CallArguments {
    /// The environment (optional if the app has only one), the function, and its input: JSON, @FILE, @- for a file
    /// on stdin, or - for JSON on stdin.
    #[arg(num_args = 0..=3, allow_negative_numbers = true, value_name = "ENV FUNCTION JSON")]
    words: Vec<String>,
    /// Submit the job, print its ID, and do not wait.
    #[arg(long = "async", conflicts_with = "stream")]
    asynchronous: bool,
    /// Print each chunk as it arrives, one JSON value per line.
    #[arg(long)]
    stream: bool,
    /// The longest to wait for the result, in seconds [default: the function's time limit plus two minutes; plus
    /// ten in a cloud].
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..))]
    timeout: Option<u64>,
    /// Write the result to this file: bytes as they are, anything else as JSON.
    #[arg(long, short, value_name = "FILE", conflicts_with_all = ["asynchronous", "stream"])]
    output: Option<PathBuf>,
    #[command(flatten)]
    scope: ScopeArguments,
    /// Print one JSON object: output, status, ID, times, cost, request ID.
    #[arg(long)]
    json: bool,
}

impl Command for CallArguments {
    fn format(&self) -> Format {
        Format::of_flag(self.json)
    }

    fn run(self, context: &Context) -> Result<Code, Failure> {
        context.block_on(call(&self, context.output()))?;
        Ok(Code::Success)
    }
}

async fn call(arguments: &CallArguments, output: &Output) -> Result<(), Failure> {
    let Some(words) = Words::of(&arguments.words) else {
        return Err(Failure::unusable("no function given")
            .hint("name one: flash call [ENV] FUNCTION [JSON | @FILE | @- | -]"));
    };
    let given = input::Given::read(words.input)?;
    if let Err(failure) = given.check() {
        return Err(with_example(failure, arguments, &words).await);
    }
    let Scope { id, target } = arguments.scope.environment(words.environment).await?;
    let spec = target.spec(&id, None).await?;
    let price_per_second = price(&spec, words.function, target.kind());
    let manifest = spec.manifest;
    let callee = find(&manifest, words.function).map_err(|error| {
        let there = find::listed(&manifest).map(|names| format!("it has: {names}; "));
        let more = format!("to list them: flash deploy info {}", id.name);
        Failure::of(FailureCode::Unusable, &error).hint(there.unwrap_or_default() + &more)
    })?;
    allowed(arguments, &callee)?;
    let usage = |failure: Failure| match callee.function() {
        Some(function) => failure.hint(input::usage(&id.name, words.function, &manifest, function)),
        None => failure,
    };
    let input = given.for_function(&manifest, callee.function()).map_err(usage)?;
    if let Some(function) = callee.function() {
        input::check(&manifest, function, &input).map_err(usage)?;
    }
    let environment = target.environment(&id).await?;
    let endpoint = environment.endpoints.iter().find(|endpoint| endpoint.worker == callee.worker());
    let endpoint = endpoint.ok_or_else(|| {
        Failure::failed(format!("worker type `{}` has no address in {id}", callee.worker()))
            .hint(format!("flash status {}", id.name))
    })?;
    let other_key = match target.kind() {
        TargetKind::Local => format!("flash key new {} --use", id.name),
        TargetKind::Runpod => "flash login".to_owned(),
    };
    let timeout = timeout_of(arguments, &manifest, &callee, target.kind());
    let caller = Caller::new(&id, other_key, key_for(&id, target.as_ref())?, timeout)?;
    let result = ResultPrinting {
        is_bytes: callee.function().is_some_and(returns_bytes),
        file: arguments.output.as_deref(),
    };
    let reporter = Reporter { environment: &id.name, price_per_second, output, result };
    let printing = if arguments.stream { ChunkPrinting::AsTheyCome } else { ChunkPrinting::AtTheEnd };
    match callee {
        Callee::Route(function) => {
            let request = route::request(function, &endpoint.url, &input)?;
            caller.route(request, Answer::of(function), printing, &reporter).await
        }
        Callee::Job { worker, function } => {
            let submission = Submission { url: &endpoint.url, worker, function, input: input.raw() };
            match function {
                _ if arguments.asynchronous => caller.submit(&submission, &reporter).await,
                Some(function) if function.streams => caller.stream(&submission, printing, &reporter).await,
                _ if arguments.stream => caller.stream(&submission, printing, &reporter).await,
                _ => caller.run(&submission, &reporter).await,
            }
        }
    }
}

/// The error for an input that is not valid JSON, with an example that fits if the function can be looked up.
/// Errors of that look-up are ignored: the input is the first problem.
async fn with_example(failure: Failure, arguments: &CallArguments, words: &Words<'_>) -> Failure {
    let Ok(Scope { id, target }) = arguments.scope.environment(words.environment).await else {
        return failure;
    };
    let Ok(ReleaseSpec { manifest, .. }) = target.spec(&id, None).await else { return failure };
    match find(&manifest, words.function).ok().and_then(|callee| callee.function()) {
        Some(function) => failure.hint(input::usage(&id.name, words.function, &manifest, function)),
        None => failure,
    }
}

/// The price of one second of a queue function's worker, for platforms that do not meter jobs.
fn price(spec: &ReleaseSpec, function: &str, kind: TargetKind) -> Option<NanoDollars> {
    if kind == TargetKind::Local {
        return None;
    }
    let callee = find(&spec.manifest, function).ok()?;
    let prices = spec.prices.iter().map(|(name, price)| (name.as_str(), *price));
    let prices = PriceList::with_overrides(prices).ok()?;
    spec.manifest.worker(callee.worker())?.compute.price_per_second(&prices)
}

/// Whether the function can be called this way.
fn allowed(arguments: &CallArguments, callee: &Callee<'_>) -> Result<(), Failure> {
    let name = callee.name();
    if arguments.asynchronous && matches!(callee, Callee::Route(_)) {
        return Err(Failure::unusable(format!(
            "`{name}` is a route: it answers directly and creates no job"
        ))
        .hint("leave out --async"));
    }
    if arguments.stream && callee.function().is_some_and(|function| !function.streams) {
        return Err(Failure::unusable(format!("`{name}` returns a single result and does not stream"))
            .hint("leave out --stream"));
    }
    let prints_bytes = callee.function().is_some_and(returns_bytes)
        && arguments.output.is_none()
        && !arguments.json
        && !arguments.asynchronous;
    if prints_bytes && std::io::stdout().is_terminal() {
        return Err(Failure::unusable(format!("`{name}` returns bytes, which are not for a terminal"))
            .hint("write them to a file: -o FILE"));
    }
    Ok(())
}

/// Whether the result is bytes, and not a stream of them.
fn returns_bytes(function: &FunctionEntry) -> bool {
    !function.streams && (function.raw_output || files::is_bytes(&function.output))
}

fn timeout_of(
    arguments: &CallArguments,
    manifest: &Manifest,
    callee: &Callee<'_>,
    target: TargetKind,
) -> Duration {
    let limit = manifest.worker(callee.worker()).map_or(0, |worker| worker.execution_timeout_seconds);
    match arguments.timeout {
        Some(seconds) => Duration::from_secs(seconds),
        None => {
            let start = match target {
                TargetKind::Local => START_ALLOWANCE,
                TargetKind::Runpod => CLOUD_START_ALLOWANCE,
            };
            Duration::from_secs(limit.into()) + start
        }
    }
}

/// The key for the environment.
fn key_for(id: &EnvironmentId, target: &dyn Target) -> Result<String, Failure> {
    if let Some(key) = variables::get(variables::API_KEY) {
        return Ok(key);
    }
    if let Some(key) = target.caller_key() {
        return Ok(key.expose().to_owned());
    }
    let credentials = Credentials::load().map_err(|error| {
        Failure::of(FailureCode::Unusable, &error).hint(format!("or set the variable {}", variables::API_KEY))
    })?;
    let known = credentials.environment(&id.app, &id.name).map(|known| known.key.clone());
    known.filter(|key| !key.is_empty()).ok_or_else(|| {
        Failure::unusable(format!(
            "no key for {id}: {} is not set, and the credential file has none",
            variables::API_KEY
        ))
        .hint(format!("flash key new {} --use", id.name))
    })
}
