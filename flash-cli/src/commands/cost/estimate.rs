//! `flash cost estimate`: collects the numbers for an estimate.
use clap::Args;
use flash_protocol::manifest::Manifest;
use flash_target::{CostQuery, Costs, EnvironmentId, Grain};
use jiff::Timestamp;
use serde::Serialize;

use crate::{
    builder::{BuildDirectory, Record},
    commands::{
        scope::{DirectoryArguments, Scope, ScopeArguments},
        time::parse_past_ms,
    },
    estimate::{
        Estimate, EstimateError, Given, Measured, always_on, estimate, left_out, measured, stages, table,
    },
    exit::{Failure, FailureCode},
    output::Output,
    project::{Build, Config, LastManifest, Package, SourceState, build, describe, print_first_build},
};

/// Requests per day, if neither given nor measured.
const REQUESTS_PER_DAY: u64 = 10_000;

/// Estimate what an app costs per day and month, compared with running all of it on its GPU.
///
/// Assumes that each request runs each stage once, for the seconds given by --seconds or measured by --from. Prices
/// come from `[prices]` in flash.toml, else from the catalog. Start-up and idle time are not included: `flash cost
/// ENV` shows them.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  flash cost estimate --requests-per-day 10000 --seconds preprocess_worker=0.05 \
                  --seconds inference_worker=0.2 --seconds postprocess_worker=0.03\n  \
                  flash cost estimate --from production --since 7d\n\n\
                  Exit codes: 0 success; 1 the app cannot be built, or the target cannot be reached; 2 no \
                  seconds, or wrong usage."
)]
pub(super) struct EstimateArguments {
    #[command(flatten)]
    directory: DirectoryArguments,
    /// Requests per day [default: 10000; with --from, as measured].
    #[arg(long, value_name = "N", value_parser = whole_number)]
    requests_per_day: Option<u64>,
    /// Seconds that a worker type, or one of its functions, runs per request. Overrides --from.
    #[arg(long, value_name = "NAME=S")]
    seconds: Vec<Given>,
    /// Use the seconds per call and requests per day measured in this environment.
    #[arg(long, value_name = "ENV")]
    from: Option<String>,
    /// Start of the period for --from: 24h, 7d, or a time.
    #[arg(long, default_value = "7d", requires = "from")]
    since: String,
}

fn whole_number(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| "expected a whole number".to_owned())
}

#[derive(Serialize)]
struct Printed<'a> {
    app: &'a str,
    #[serde(flatten)]
    estimate: &'a Estimate,
    left_out: &'a [&'a str],
}

pub(super) async fn run(arguments: &EstimateArguments, output: &Output) -> Result<(), Failure> {
    if arguments.seconds.is_empty() && arguments.from.is_none() {
        return Err(Failure::unusable("the duration of each stage is unknown").hint(
            "give --seconds WORKER=SECONDS for each stage, or use an environment's measurements: --from ENV",
        ));
    }
    let package = Package::find(arguments.directory.path())?;
    let config = Config::load(&package.directory)?;
    // Checked before the build, which is not needed if the environment does not exist.
    let spent = match &arguments.from {
        Some(name) => Some(spent(&package, name, &arguments.since).await?),
        None => None,
    };
    let manifest = manifest_of(&package, &config, output).await?;
    let (mut given, mut requests) = (arguments.seconds.clone(), arguments.requests_per_day);
    if let Some(spent) = &spent {
        let measured = spent.measured(&manifest, &arguments.since)?;
        requests = requests.or(Some(measured.requests_per_day));
        let own = stages(&manifest, &config.prices, &given).map_err(unusable)?;
        let is_given = |measured: &Given| own.iter().any(|stage| stage.worker == measured.name);
        given.extend(measured.seconds.into_iter().filter(|measured| !is_given(measured)));
    }
    let stages = stages(&manifest, &config.prices, &given).map_err(unusable)?;
    let left_out = left_out(&manifest, &stages);
    let always_on = always_on(&manifest, &config.prices).map_err(unusable)?;
    let estimate = estimate(stages, requests.unwrap_or(REQUESTS_PER_DAY), always_on);
    if output.is_json() {
        output.object(&Printed { app: &manifest.app.name, estimate: &estimate, left_out: &left_out });
    } else {
        table::lines(&estimate, &left_out).iter().for_each(|line| output.line(line));
    }
    Ok(())
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn unusable(error: EstimateError) -> Failure {
    let failure = Failure::of(FailureCode::Unusable, &error);
    match error {
        EstimateError::NoPrice { .. } => {
            failure.hint("set one in flash.toml, in dollars per second: \"ID\" = 0.0002 under [prices]")
        }
        EstimateError::Unknown { .. } | EstimateError::Twice(_) => failure,
    }
}

/// The parts of the app: from the record of the last build, else from a new build.
async fn manifest_of(package: &Package, config: &Config, output: &Output) -> Result<Manifest, Failure> {
    let sources = SourceState::of(package).await;
    let last = LastManifest::load(&package.directory).filter(|last| last.is_of(sources.as_ref()));
    let recorded = Record::load(&BuildDirectory::of(&package.directory));
    let mut manifest = match (last, recorded) {
        (Some(last), _) => last.manifest,
        (None, Ok(record)) if record.app.app.name == package.name => {
            output.status("Reading", "the last `flash build`, in .flash/build");
            record.app
        }
        (None, _) => {
            let how = Build { features: config.features.clone(), ..Build::default() };
            print_first_build(package, None, "dev", output);
            let app = build(package, &how, output).await?;
            let manifest = describe(&app.program, &package.directory, &[], config).await?;
            LastManifest::keep(&package.directory, sources, &manifest);
            manifest
        }
    };
    for command in config.commands() {
        if manifest.worker(&command.worker_type.name).is_none() {
            manifest.workers.push(command.worker_type);
        }
    }
    Ok(manifest)
}

/// What an environment spent in a period.
struct Spent {
    id: EnvironmentId,
    costs: Costs,
    milliseconds: u64,
}

async fn spent(package: &Package, name: &str, from: &str) -> Result<Spent, Failure> {
    let now = Timestamp::now();
    let since_ms = parse_past_ms("--since", from, now)?;
    let until_ms = u64::try_from(now.as_millisecond()).unwrap_or(since_ms);
    let of = ScopeArguments {
        directory: package.directory.clone(),
        app: Some(package.name.clone()),
        target: None,
    };
    let Scope { id, target } = of.environment(Some(name)).await?;
    // A younger environment had less time for its requests.
    let since_ms = since_ms.max(target.environment(&id).await?.created_ms);
    let costs = target.costs(&id, &CostQuery { since_ms, until_ms, grain: Grain::Whole }).await?;
    Ok(Spent { id, costs, milliseconds: until_ms.saturating_sub(since_ms) })
}

impl Spent {
    fn measured(&self, manifest: &Manifest, from: &str) -> Result<Measured, Failure> {
        measured(manifest, &self.costs, self.milliseconds).ok_or_else(|| {
            Failure::unusable(format!("no function of {} was called since {from}", self.id))
                .hint("give --seconds WORKER=SECONDS, or look further back with --since")
        })
    }
}
