//! The arguments of `flash run`, and the session that they start.
use std::{collections::BTreeSet, ffi::OsString, path::PathBuf, time::Duration};

use clap::Args;
use flash_containers::{Kind, Wanted};
use flash_platform::Supervision;

use super::{
    address::Address,
    image::BuiltImages,
    program_images::ProgramImages,
    session::{Origin, Session},
    state::{Keep, api_key},
};
use crate::{
    builder::for_own_gpus,
    commands::{
        choice::choice,
        command::{Command, Context, Unread},
        scope::DirectoryArguments,
    },
    exit::{Code, Failure},
    output::{Format, Output},
    project::{Build, Config, LastManifest, Package, load_dotenv},
};

const DEFAULT_DRAIN_SECONDS: u64 = 10;

/// Run the app of a crate on this machine, as autoscaled worker processes, with hot reload.
///
/// Routes are served at their own path, queue functions at /MODULE/FUNCTION/run_sync, Runpod's API at /v2/WORKER/…,
/// API docs at /docs. No login, container or network is needed. With --image, it runs the images of `flash build`
/// in containers. A worker type with `image` in flash.toml always runs in one.
#[derive(Args)]
#[command(
    visible_alias = "dev",
    after_help = "Examples:\n  flash run\n  flash run examples/03_mixed_workers --port 9000\n  \
                  flash run --json | jq 'select(.event == \"log\")'\n  flash build && flash run --image"
)]
pub(crate) struct RunArguments {
    #[command(flatten)]
    directory: DirectoryArguments,
    /// Address to listen on [default: localhost; or FLASH_HOST, .env, flash.toml]. Addresses other than loopback
    /// are open to other machines: set FLASH_API_KEY (environment or .env) to require a key.
    #[arg(long)]
    host: Option<String>,
    /// Port to listen on [default: 8888, or one of the next 20; or FLASH_PORT, .env, flash.toml]. 0 picks any free
    /// port.
    #[arg(long, short)]
    port: Option<u16>,
    /// Other host names under which requests are accepted without a key, separated by commas; *.NAME matches every
    /// name below NAME [default: none; or FLASH_ALLOW_HOST, .env, `allow_hosts` in flash.toml]. IP addresses,
    /// localhost and this machine's own name are always allowed.
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    allow_host: Vec<String>,
    /// Build with optimizations.
    #[arg(long)]
    release: bool,
    /// Cargo features to build the app with, separated by commas (in addition to those in flash.toml).
    #[arg(long, value_delimiter = ',')]
    features: Vec<String>,
    /// Do not rebuild when a source changes.
    #[arg(long)]
    no_reload: bool,
    /// Run the images of the last `flash build` as containers instead of building the crate. Sources are not
    /// watched; the next `flash build` is loaded automatically.
    #[arg(long, conflicts_with_all = ["release", "features"])]
    image: bool,
    /// Container engine for --image [default: podman, else docker; or `container` in flash.toml].
    #[arg(long, value_name = "ENGINE", requires = "image", value_parser = choice::<Kind>())]
    container: Option<Kind>,
    /// Seconds that running work may take when the app is replaced or stopped [default: 10].
    #[arg(long)]
    drain_seconds: Option<u64>,
    /// Keep jobs in .flash/state, so that the next run with --keep continues them. With =power-loss, a job is on
    /// disk before its ID is returned. Without --keep, jobs are lost when the run ends.
    #[arg(long, value_name = "LEVEL", num_args = 0..=1, require_equals = true, default_missing_value = "process")]
    keep: Option<Keep>,
    /// Stop when standard input ends, as on SIGTERM. A program that starts flash with a pipe as its input can end in any
    /// way, and flash ends with it.
    #[arg(long)]
    stop_on_eof: bool,
    /// Print one JSON object per line: events `ready`, `log`, `reload`.
    #[arg(long)]
    json: bool,
}

impl RunArguments {
    /// `flash run --image DIR`, with defaults for everything else.
    pub(crate) fn of_images(directory: PathBuf) -> Self {
        Self {
            directory: DirectoryArguments::of(directory),
            host: None,
            port: None,
            allow_host: Vec::new(),
            release: false,
            features: Vec::new(),
            no_reload: false,
            image: true,
            container: None,
            drain_seconds: None,
            keep: None,
            stop_on_eof: false,
            json: false,
        }
    }
}

impl Command for RunArguments {
    const UNREAD: Unread = Unread::Leave;

    fn format(&self) -> Format {
        Format::of_flag(self.json)
    }

    fn run(self, context: &Context) -> Result<Code, Failure> {
        context.block_on(serve(self, context.output()))?;
        Ok(Code::Success)
    }
}

/// Serves until Ctrl-C or SIGTERM.
async fn serve(arguments: RunArguments, output: &Output) -> Result<(), Failure> {
    let package = Package::find(arguments.directory.path())?;
    if package.leaves_models_slow && !arguments.release && !arguments.image {
        output.warning("candle is compiled without optimisation in dev builds, so models are a hundred times slower; `flash doctor` prints what to add to Cargo.toml");
    }
    let config = Config::load(&package.directory)?;
    let dotenv = load_dotenv(&package.directory)?;
    let address = Address::find(arguments.host.as_deref(), arguments.port, &config, &dotenv)?;
    // Read again when the platform starts; an invalid secret is reported before the build.
    api_key(&dotenv)?;
    let listener = address.listen(output).await?;
    let drain_seconds = arguments.drain_seconds.or(config.drain_seconds).unwrap_or(DEFAULT_DRAIN_SECONDS);
    let session = Session {
        origin: origin(&arguments, &config, &package, output).await?,
        package,
        reload: !arguments.no_reload,
        stop_on_eof: arguments.stop_on_eof,
        drain_time: Duration::from_secs(drain_seconds),
        keep: arguments.keep,
        supervision: supervision(&config),
        limits: config.limits.unwrap_or(true),
        hides_values: config.hides_values,
        allowed_hosts: address.allowed_hosts(&arguments.allow_host, &config, &dotenv)?,
        host: address.host,
        output: output.clone(),
        read: BTreeSet::new(),
        programs: ProgramImages::default(),
        lacking: Vec::new(),
    };
    session.serve(listener).await
}

async fn origin(
    arguments: &RunArguments,
    config: &Config,
    package: &Package,
    output: &Output,
) -> Result<Origin, Failure> {
    if arguments.image {
        let chosen = config.container.clone();
        let wanted = Wanted { kind: arguments.container.or(chosen.kind), ..chosen };
        let limits = config.limits.unwrap_or(true);
        let images = BuiltImages::find(&package.directory, &wanted, limits, output).await?;
        return Ok(Origin::Images(Box::new(images)));
    }
    let features = config.features.iter().chain(&arguments.features).cloned().collect();
    let build = Build {
        arguments: if arguments.release { release_arguments(config) } else { Vec::new() },
        features,
        environment: Vec::new(),
    };
    let last = LastManifest::load(&package.directory);
    let is_for_gpus =
        |last: LastManifest| last.manifest.workers.iter().any(|own| own.compute.vram_gb().is_some());
    let build = for_own_gpus(build, package, config, last.map(is_for_gpus), output).await?;
    Ok(Origin::Crate(build))
}

/// Cargo's arguments for optimised code. It runs here only, so it may use all that this processor has.
fn release_arguments(config: &Config) -> Vec<OsString> {
    let cpu = config.build.target_cpu.as_deref().unwrap_or("native");
    let flags = toml::Value::from(vec![format!("-Ctarget-cpu={cpu}")]);
    // Cargo appends this to the flags of the user's own configuration. Where that has flags for a target, or `RUSTFLAGS`
    // is set, cargo takes those alone.
    ["--release".into(), "--config".into(), format!("build.rustflags={flags}").into()].into()
}

fn supervision(config: &Config) -> Supervision {
    let default = Supervision::default();
    let ping_timeout = match config.ping_timeout {
        None => default.ping_timeout,
        Some(0) => None,
        Some(seconds) => Some(Duration::from_secs(seconds)),
    };
    let stop_grace = config.stop_grace_ms.map_or(default.stop_grace, Duration::from_millis);
    Supervision { ping_timeout, stop_grace }
}
