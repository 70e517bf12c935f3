//! The arguments of `flash call`, and its steps.
use std::{io::IsTerminal as _, path::PathBuf, time::Duration};

use clap::Args;
use flash_protocol::manifest::FunctionEntry;

use super::{
    files,
    find::{self, Callee, find},
    input,
    place::Place,
    report::{Reporter, ResultPrinting},
    route,
    send::{Answer, Caller, ChunkPrinting, Submission},
    words::Words,
};
use crate::{
    commands::{
        command::{Command, Context},
        endpoint_table::{self, quoted},
        running::RunningArguments,
        scope::ScopeArguments,
    },
    exit::{Code, Failure, FailureCode},
    output::{Format, Output},
};

/// Call a function of a deployed app, or of a running `flash run`.
///
/// FUNCTION is a name as in code (classify, Sentiment::classify), module/function, or a route (/classify, "POST
/// /classify"). The input is checked against the function's JSON schema before it is sent. A file is JSON or, for a
/// function that takes bytes, what they consist of; within JSON, "@FILE" stands for the bytes of a file. The result
/// goes to stdout; status, time, cost and request ID go to stderr. The key comes from FLASH_API_KEY, else from the
/// credential file.
#[derive(Args)]
#[command(
    override_usage = "flash call [OPTIONS] [ENV] FUNCTION [JSON | @FILE | @- | -]",
    after_help = "Examples:\n  flash call production preprocess_text '{\"text\": \"I love it!\"}'\n  \
                  flash call production /classify @input.json\n  \
                  echo '{\"to\": 3}' | flash call staging count - --stream\n  \
                  flash call production Sentiment::classify @clean.json --async\n  \
                  flash call production preprocess_text --example\n  \
                  flash call --local preprocess_text '{\"text\": \"I love it!\"}'\n  \
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
    /// Print an input that fits the function, and do not call it.
    #[arg(long, conflicts_with_all = ["asynchronous", "stream", "output", "timeout"])]
    example: bool,
    #[command(flatten)]
    scope: ScopeArguments,
    #[command(flatten)]
    running: RunningArguments,
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
    let words = Words::of(&arguments.words, arguments.running.local).map_err(|error| {
        let usage = match arguments.running.local {
            true => "write: flash call --local FUNCTION [JSON | @FILE | @- | -]",
            false => "write: flash call [ENV] FUNCTION [JSON | @FILE | @- | -]",
        };
        Failure::of(FailureCode::Unusable, &error).hint(usage)
    })?;
    let find_place = async || {
        let place = Place::find(&arguments.running, &arguments.scope, words.environment).await;
        // Outside of a crate, it is not the words.
        let is_known = arguments.scope.app().is_ok();
        place.map_err(|failure| if is_known { with_other_reading(failure, &words) } else { failure })
    };
    if arguments.example {
        return show_example(&find_place().await?, &words, output);
    }
    let given = input::Given::read(words.input)?;
    if let Err(failure) = given.check() {
        return Err(with_example(failure, find_place().await, &words));
    }
    let place = find_place().await?;
    let manifest = place.manifest();
    let callee = callee(&place, words.function)?;
    allowed(arguments, &callee)?;
    let usage = |failure: Failure| match callee.function() {
        Some(function) => failure.hint(usage(&place, words.function, function)),
        None => failure,
    };
    let input = given.for_function(manifest, callee.function()).map_err(usage)?;
    if let Some(function) = callee.function() {
        input::check(manifest, function, &input).map_err(usage)?;
    }
    let url = place.address(&callee).await?;
    let timeout = arguments.timeout.map_or_else(|| place.timeout(&callee), Duration::from_secs);
    let called = place.called();
    let result = ResultPrinting {
        is_bytes: callee.function().is_some_and(returns_bytes),
        file: arguments.output.as_deref(),
    };
    let logs = called.logs.clone();
    let reporter = Reporter { logs: &logs, price_per_second: place.price(&callee), output, result };
    let caller = Caller::new(called, place.key()?, timeout)?;
    let printing = if arguments.stream { ChunkPrinting::AsTheyCome } else { ChunkPrinting::AtTheEnd };
    match callee {
        Callee::Route(function) => {
            let request = route::request(function, &url, &input)?;
            caller.route(request, Answer::of(function), printing, &reporter).await
        }
        Callee::Job { worker, function } => {
            let submission = Submission { url: &url, worker, function, input: input.raw() };
            match function {
                _ if arguments.asynchronous => caller.submit(&submission, &reporter).await,
                Some(function) if function.streams => caller.stream(&submission, printing, &reporter).await,
                _ if arguments.stream => caller.stream(&submission, printing, &reporter).await,
                _ => caller.run(&submission, &reporter).await,
            }
        }
    }
}

/// What a name refers to.
///
/// # Errors
/// When there is no such function, with those that there are.
fn callee<'a>(place: &'a Place, name: &str) -> Result<Callee<'a>, Failure> {
    find(place.manifest(), name).map_err(|error| {
        let there = find::listed(place.manifest()).map(|names| format!("it has: {names}; "));
        let more = format!("to list them: {}", place.list());
        Failure::of(FailureCode::Unusable, &error).hint(there.unwrap_or_default() + &more)
    })
}

fn usage(place: &Place, name: &str, function: &FunctionEntry) -> String {
    input::usage(&place.command("call"), name, place.manifest(), function)
}

/// Prints an input that fits the function.
///
/// # Errors
/// When there is no such function, or nothing is known of its input.
fn show_example(place: &Place, words: &Words<'_>, output: &Output) -> Result<(), Failure> {
    let callee = callee(place, words.function)?;
    let Some(function) = callee.function() else {
        return Err(Failure::unusable(format!("`{}` is a program: its input is not known", callee.name())));
    };
    let example = endpoint_table::example(place.manifest(), function);
    match arguments_json(&example, output) {
        Some(text) => output.line(&text),
        None => output.object(&example),
    }
    Ok(())
}

/// Over several lines, for people; `None` for programs.
fn arguments_json(example: &serde_json::Value, output: &Output) -> Option<String> {
    if output.is_json() { None } else { serde_json::to_string_pretty(example).ok() }
}

/// The error for an input that is not valid JSON, with an example that fits if the function can be looked up. If the input
/// is the name of a function, another error says what was meant.
/// Errors of that look-up are ignored: the input is the first problem.
fn with_example(failure: Failure, place: Result<Place, Failure>, words: &Words<'_>) -> Failure {
    let Ok(place) = place else { return failure };
    let manifest = place.manifest();
    match (find(manifest, words.function), words.input.map(|input| find(manifest, input))) {
        (Ok(callee), _) => match callee.function() {
            Some(function) => failure.hint(usage(&place, words.function, function)),
            None => failure,
        },
        // The first word was meant as an environment.
        (Err(_), Some(Ok(callee))) => Failure::unusable(format!(
            "--local is the app that `flash run` runs, and has no environment `{}`",
            words.function
        ))
        .hint(format!("leave one of them out: {} {}", place.command("call"), callee.name())),
        (Err(_), _) => failure,
    }
}

/// The error that there is no such environment, with what else the words may have meant: of `greet Ada`, the first is
/// only an environment because the second is not JSON.
fn with_other_reading(failure: Failure, words: &Words<'_>) -> Failure {
    let (Some(first), None, FailureCode::Unusable) = (words.environment, words.input, failure.code) else {
        return failure;
    };
    let input = quoted(&serde_json::Value::from(words.function).to_string());
    failure
        .also(&format!("if `{first}` is the function, write its input as JSON: flash call {first} {input}"))
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
    if let Some(function) = callee.function().filter(|function| function.takes_form()) {
        let path = function.route.as_ref().map(|route| route.path.as_str()).unwrap_or_default();
        return Err(Failure::unusable(format!("`{name}` takes a form, which `flash call` does not send"))
            .hint(format!("use curl: curl -F FIELD=VALUE -F FILE=@photo.jpg URL{path}")));
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
