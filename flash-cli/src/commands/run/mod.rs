//! `flash run`: serves an app on this machine, with hot reload.
//!
//! Builds the app, starts the platform, deploys the app to it, and repeats that whenever a source changes.
//! `session` is the loop; `image` provides versions that are not built here; this file holds the arguments and
//! starts a session.
mod image;
mod session;
mod state;
mod workspace;

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv6Addr},
    path::PathBuf,
    time::Duration,
};

use clap::Args;
use flash_containers::{self, Kind, Wanted};
use flash_platform::{AllowedHosts, Supervision};
use flash_process::port_holder::holder_of;
use flash_target_local::{BindError, Port};

use super::scope::DirectoryArguments;
use crate::{
    exit::{Code, Failure},
    output::Output,
    project::{Build, Config, Package, load_dotenv},
};
use image::BuiltImages;
use session::{Origin, Session};

const DEFAULT_HOST: &str = "localhost";
const DEFAULT_PORT: u16 = 8888;
const DEFAULT_DRAIN_SECONDS: u64 = 10;

/// Run the app of a crate on this machine, as autoscaled worker processes, with hot reload.
///
/// Routes are served at their own path, queue functions at /MODULE/FUNCTION/run_sync, Runpod's API at /v2/WORKER/…,
/// API docs at /docs. No login, container or network is needed. With --image, it runs the images of `flash build`
/// in containers.
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
    #[arg(long, value_name = "ENGINE", requires = "image")]
    container: Option<Kind>,
    /// Seconds that running work may take when the app is replaced or stopped [default: 10].
    #[arg(long)]
    drain_seconds: Option<u64>,
    /// Keep jobs in .flash/state, so that the next run with --keep continues them. With =power-loss, a job is on
    /// disk before its ID is returned. Without --keep, jobs are lost when the run ends.
    #[arg(long, value_name = "LEVEL", num_args = 0..=1, require_equals = true, default_missing_value = "process")]
    keep: Option<state::Keep>,
    /// Print one JSON object per line: events `ready`, `log`, `reload`.
    #[arg(long)]
    pub json: bool,
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
            json: false,
        }
    }
}

/// Serves until Ctrl-C or SIGTERM.
pub(crate) fn run(arguments: RunArguments, output: &Output) -> Result<(), Failure> {
    let runtime = tokio::runtime::Runtime::new()
        .map_err(|error| Failure::failed(format!("could not start the async runtime: {error}")))?;
    runtime.block_on(serve(arguments, output))
}

async fn serve(arguments: RunArguments, output: &Output) -> Result<(), Failure> {
    let package = Package::find(arguments.directory.path())?;
    let config = Config::load(&package.directory)?;
    let dotenv = load_dotenv(&package.directory)?;
    let (host, port) = address(&arguments, &config, &dotenv)?;
    // Read again when the platform starts; an invalid secret is reported before the build.
    state::api_key(&dotenv)?;
    let listener = flash_target_local::bind(&host, port, |taken| {
        let by = holder_of(taken).map_or(String::new(), |holder| format!(" by {holder}"));
        output.warning(&format!("port {taken} is in use{by}; trying the next"));
    })
    .await
    .map_err(|error| not_bound(&error))?;
    let drain_seconds = arguments.drain_seconds.or(config.drain_seconds).unwrap_or(DEFAULT_DRAIN_SECONDS);
    let session = Session {
        origin: origin(&arguments, &config, &package, output).await?,
        package,
        reload: !arguments.no_reload,
        drain_time: Duration::from_secs(drain_seconds),
        keep: arguments.keep,
        supervision: supervision(&config),
        limits: config.limits.unwrap_or(true),
        allowed_hosts: allowed_hosts(&arguments, &config, &dotenv, &host)?,
        host,
        output: output.clone(),
        read: BTreeSet::new(),
    };
    session.serve(listener).await
}

/// Whether an engine is available, checked before images are built.
pub(super) async fn check_engine(config: &Config) -> Result<(), Failure> {
    flash_containers::find(&config.container).await.map(drop).map_err(image::not_usable)
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
    Ok(Origin::Crate(Build {
        arguments: arguments.release.then(|| "--release".into()).into_iter().collect(),
        features,
        environment: Vec::new(),
    }))
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

fn not_bound(error: &BindError) -> Failure {
    let failure = Failure::of(Code::Failed, error);
    match error {
        BindError::UnknownHost { .. } | BindError::OtherMachine { .. } => failure.hint(
            "use --host localhost for this machine only, --host 0.0.0.0 for all its IPv4 addresses, --host :: for IPv6 \
             too",
        ),
        BindError::Port { .. } | BindError::Ports { .. } => {
            let holder = match error {
                BindError::Port { port, .. } => holder_of(*port),
                _ => None,
            };
            let held = holder.map_or(String::new(), |holder| format!("it is held by {holder}; "));
            failure.hint(format!("{held}choose another port with --port, or use --port 0 for any free one"))
        }
    }
}

/// A host name or address without a port; an IPv6 address may have brackets as in a URL.
fn host_alone(text: &str) -> Result<String, Failure> {
    let inside = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let host = inside.unwrap_or(text);
    // A link-local address includes its interface.
    let is_ipv6 = host.split('%').next().is_some_and(|address| address.parse::<Ipv6Addr>().is_ok());
    if is_ipv6 || (inside.is_none() && !host.contains(['/', ':', '[', ']', '@', ' '])) {
        return Ok(host.to_owned());
    }
    Err(Failure::unusable(format!("`{text}` is not a host; expected a name or an IP address"))
        .hint("give the port separately: --host localhost --port 9000"))
}

/// Flag, then environment, then `.env`, then `flash.toml`, then the default.
fn address(
    arguments: &RunArguments,
    config: &Config,
    dotenv: &[(String, String)],
) -> Result<(String, Port), Failure> {
    let variable = |name: &str| variable(name, dotenv);
    let host = arguments.host.clone().or_else(|| variable("FLASH_HOST")).or_else(|| config.host.clone());
    let from_variable = match variable("FLASH_PORT") {
        None => None,
        Some(text) => Some(text.parse().map_err(|_| {
            Failure::unusable(format!("FLASH_PORT is `{text}`; expected a port from 0 to 65535"))
        })?),
    };
    let port = arguments.port.or(from_variable).or(config.port);
    let port = port.map_or(Port::From(DEFAULT_PORT), Port::Exactly);
    Ok((host_alone(host.as_deref().unwrap_or(DEFAULT_HOST))?, port))
}

/// From the environment, then from `.env`.
fn variable(name: &str, dotenv: &[(String, String)]) -> Option<String> {
    let from_file = || dotenv.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone());
    std::env::var(name).ok().or_else(from_file).filter(|value| !value.is_empty())
}

/// The names from the first source that has any, in the same order as for the address, plus the name it listens on.
fn allowed_hosts(
    arguments: &RunArguments,
    config: &Config,
    dotenv: &[(String, String)],
    host: &str,
) -> Result<AllowedHosts, Failure> {
    let from_variable = || {
        let names = variable("FLASH_ALLOW_HOST", dotenv).unwrap_or_default();
        names.split(',').map(|name| name.trim().to_owned()).filter(|name| !name.is_empty()).collect()
    };
    let mut names = arguments.allow_host.clone();
    if names.is_empty() {
        names = from_variable();
    }
    if names.is_empty() {
        names.clone_from(&config.allow_hosts);
    }
    let is_address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>().is_ok();
    names.extend((!is_address).then(|| host.to_owned()));
    match AllowedHosts::new(names) {
        Ok(hosts) => Ok(hosts.and_this_machine()),
        Err(error) => Err(Failure::unusable(format!("allowed hosts: {error}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_taken_as_people_write_it_and_refused_with_the_way_to_write_it() {
        for (text, host) in [
            ("localhost", "localhost"),
            ("127.0.0.1", "127.0.0.1"),
            ("::1", "::1"),
            ("[::1]", "::1"),
            ("[::]", "::"),
            ("fe80::1%eth0", "fe80::1%eth0"),
            ("box.lan", "box.lan"),
        ] {
            assert_eq!(host_alone(text).unwrap(), host, "{text}");
        }
        for text in [
            "http://localhost",
            "localhost:9000",
            "[::1]:9000",
            "[localhost]",
            "[::1",
            "a@b",
            "127.0.0.1/8",
            "a b",
        ] {
            let refused = host_alone(text).unwrap_err().to_string();
            assert!(refused.contains(&format!("`{text}` is not a host")), "{refused}");
        }
    }
}
