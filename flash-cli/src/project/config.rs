//! `flash.toml` and `.env`: the settings of a project.
use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
};

use flash_containers::{Kind, Wanted};
use flash_protocol::{
    CommandWorker, CpuInstance, GpuPool,
    catalogue::{PriceList, PriceListError},
    manifest::Manifest,
};
use flash_text::{dotenv, nearest};
use serde::Deserialize;

use super::{
    BuildSettings, EnvironmentSettings, build_settings,
    command_worker::{self, Mistake},
    environments, programs,
};

/// The file as written. Unknown keys are errors.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Written {
    run: WrittenRun,
    dashboard: WrittenDashboard,
    build: build_settings::Written,
    /// Dollars per second, by CPU instance or GPU pool.
    prices: BTreeMap<toml::Spanned<String>, f64>,
    /// Worker types that are programs, by name.
    workers: BTreeMap<toml::Spanned<String>, command_worker::Written>,
    /// The environments to deploy to, by name.
    environments: BTreeMap<toml::Spanned<String>, environments::Written>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct WrittenRun {
    host: Option<String>,
    port: Option<u16>,
    /// Other host names under which `flash run` accepts requests without a key.
    allow_hosts: Vec<String>,
    /// Seconds that running work may take at the end.
    drain_seconds: Option<u64>,
    /// Seconds that a worker may go without a ping; 0: forever.
    ping_timeout: Option<toml::Spanned<u64>>,
    /// Milliseconds that a stopped job may keep its worker.
    stop_grace_ms: Option<toml::Spanned<u64>>,
    /// Whether workers are limited to the CPU time and memory of their instance; true by default.
    limits: Option<bool>,
    /// How many releases of a deployment can be rolled back to.
    keep_releases: Option<toml::Spanned<u64>>,
    /// Cargo features of the app to build with.
    features: Vec<String>,
    /// The engine that runs built images.
    container: Option<Kind>,
    /// Arguments for it: before the subcommand, and for each container.
    container_global_args: Vec<String>,
    container_args: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct WrittenDashboard {
    /// Whether it shows inputs and outputs of jobs.
    values: Values,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Values {
    #[default]
    Shown,
    Hidden,
}

/// The checked settings of a project.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Config {
    pub host: Option<String>,
    pub port: Option<u16>,
    /// Other host names under which `flash run` accepts requests without a key.
    pub allow_hosts: Vec<String>,
    pub drain_seconds: Option<u64>,
    /// Seconds; 0, or 3 and more.
    pub ping_timeout: Option<u64>,
    pub stop_grace_ms: Option<u64>,
    pub limits: Option<bool>,
    /// 1 to 100.
    pub keep_releases: Option<u64>,
    /// Whether the dashboard hides inputs and outputs of jobs.
    pub hides_values: bool,
    pub features: Vec<String>,
    /// The engine that runs built images, and its arguments.
    pub container: Wanted,
    pub prices: PriceList,
    /// The project's own entries in `prices`, as written.
    pub own_prices: BTreeMap<String, f64>,
    pub build: BuildSettings,
    environments: Vec<EnvironmentSettings>,
    /// The path of the file; empty if there is none.
    path: PathBuf,
    commands: Vec<Declared>,
}

/// A command and where it is declared.
#[derive(Debug, Clone, PartialEq)]
struct Declared {
    path: PathBuf,
    line: usize,
    command: CommandWorker,
    /// Programs that it starts itself.
    needs: Vec<String>,
}

/// Why a project's settings cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    #[error("cannot read {}", path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    #[error("{}:{line}: {message}", path.display())]
    Invalid { path: PathBuf, line: usize, message: String },
}

impl Config {
    /// Reads `flash.toml` in this directory. Without the file, every setting has its default.
    pub(crate) fn load(directory: &Path) -> Result<Self, ConfigError> {
        let path = directory.join("flash.toml");
        match std::fs::read_to_string(&path) {
            Ok(text) => Self::parse(&text, &path),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(source) => Err(ConfigError::Unreadable { path, source }),
        }
    }

    pub(crate) fn parse(text: &str, path: &Path) -> Result<Self, ConfigError> {
        let source = Source { text, path };
        let Written { run, dashboard, build, prices, workers, environments } =
            toml::from_str(text).map_err(|error: toml::de::Error| {
                let message = with_nearest(error.message().lines().next().unwrap_or_default());
                source.invalid(error.span().map_or(0, |span| span.start), message)
            })?;
        let own_prices = prices.iter().map(|(name, price)| (name.get_ref().clone(), *price)).collect();
        Ok(Self {
            prices: source.prices(&prices)?,
            own_prices,
            build: build.check(|at| source.line(at)).map_err(|mistake| source.mistake(mistake))?,
            commands: workers
                .into_iter()
                .map(|(name, written)| source.command(&name, written))
                .collect::<Result<_, _>>()?,
            environments: environments
                .into_iter()
                .map(|(name, written)| source.environment(&name, written))
                .collect::<Result<_, _>>()?,
            path: path.to_owned(),
            hides_values: dashboard.values == Values::Hidden,
            ..source.run(run)?
        })
    }

    /// Worker types that are programs.
    pub(crate) fn commands(&self) -> Vec<CommandWorker> {
        self.commands.iter().map(|declared| declared.command.clone()).collect()
    }

    /// Worker types that need programs beside them, with the names of these.
    pub(crate) fn needs(&self) -> impl Iterator<Item = (&str, &[String])> {
        let commands = self.commands.iter();
        let commands = commands.map(|declared| (&*declared.command.worker_type.name, &*declared.needs));
        self.build.needs().chain(commands).filter(|(_, programs)| !programs.is_empty())
    }

    /// The settings of the environment with this name, if any.
    pub(crate) fn environment(&self, name: &str) -> Option<&EnvironmentSettings> {
        self.environments.iter().find(|environment| environment.name == name)
    }

    /// All declared environments, by name.
    pub(crate) fn environments(&self) -> &[EnvironmentSettings] {
        &self.environments
    }

    /// The manifest as deployed to an environment: with the environment's settings for worker types, and with its
    /// commands.
    ///
    /// # Errors
    /// For a worker type that does not exist, and for a setting that does not fit the app's.
    pub(crate) fn manifest_in(
        &self,
        environment: &EnvironmentSettings,
        app: &Manifest,
    ) -> Result<Manifest, ConfigError> {
        environment.apply(app, &self.commands()).map_err(|(line, message)| ConfigError::Invalid {
            path: self.path.clone(),
            line,
            message,
        })
    }

    /// Whether the commands fit beside the app, and whether the settings for worker types, in `[build]` and in each
    /// environment, are for existing worker types and fit them.
    ///
    /// # Errors
    /// A name or path used by both; a name that the app does not have; a setting that contradicts the app's.
    pub(crate) fn check_against(&self, manifest: &Manifest) -> Result<(), ConfigError> {
        if let Some((line, message)) = self.build.unknown_worker(manifest) {
            return Err(ConfigError::Invalid { path: self.path.clone(), line, message });
        }
        self.commands.iter().try_for_each(
            |Declared { path, line, command, .. }| match command_worker::clash(command, manifest) {
                Some(message) => Err(ConfigError::Invalid { path: path.clone(), line: *line, message }),
                None => Ok(()),
            },
        )?;
        self.environments.iter().try_for_each(|own| self.manifest_in(own, manifest).map(drop))
    }
}

/// The file: for checks of its sections, whose errors name it and the line.
#[derive(Clone, Copy)]
struct Source<'a> {
    text: &'a str,
    path: &'a Path,
}

impl Source<'_> {
    fn line(self, offset: usize) -> usize {
        self.text.bytes().take(offset).filter(|byte| *byte == b'\n').count() + 1
    }

    fn invalid(self, at: usize, message: String) -> ConfigError {
        ConfigError::Invalid { path: self.path.to_owned(), line: self.line(at), message }
    }

    fn mistake(self, Mistake { at, message }: Mistake) -> ConfigError {
        self.invalid(at.start, message)
    }

    /// `[prices]`.
    fn prices(self, written: &BTreeMap<toml::Spanned<String>, f64>) -> Result<PriceList, ConfigError> {
        let overrides = written.iter().map(|(name, price)| (name.get_ref().as_str(), *price));
        PriceList::with_overrides(overrides).map_err(|error| {
            let (PriceListError::UnknownName(wrong) | PriceListError::BadPrice(wrong, _)) = &error;
            let at = written.keys().find(|name| name.get_ref() == wrong).map_or(0, |name| name.span().start);
            let near = match error {
                PriceListError::UnknownName(_) => nearest(wrong, priced_names()),
                PriceListError::BadPrice(..) => String::new(),
            };
            self.invalid(at, format!("{error}{near}"))
        })
    }

    /// `[workers.NAME]`.
    fn command(
        self,
        name: &toml::Spanned<String>,
        written: command_worker::Written,
    ) -> Result<Declared, ConfigError> {
        let needs = written.needs.clone();
        let command = written.check(name).map_err(|mistake| self.mistake(mistake))?;
        let needs = programs::checked(needs).map_err(|mistake| self.mistake(mistake))?;
        Ok(Declared { path: self.path.to_owned(), line: self.line(name.span().start), command, needs })
    }

    /// `[environments.NAME]`.
    fn environment(
        self,
        name: &toml::Spanned<String>,
        written: environments::Written,
    ) -> Result<EnvironmentSettings, ConfigError> {
        written.check(name, |at| self.line(at)).map_err(|mistake| self.mistake(mistake))
    }

    /// `[run]`: a config with its settings alone.
    fn run(self, written: WrittenRun) -> Result<Config, ConfigError> {
        let WrittenRun {
            host,
            port,
            allow_hosts,
            drain_seconds,
            ping_timeout,
            stop_grace_ms,
            limits,
            keep_releases,
            features,
            container,
            container_global_args,
            container_args,
        } = written;
        // Pings come at most every second, and one may be late.
        let is_ping_timeout = |seconds| seconds == 0 || (3..=3600).contains(&seconds);
        let is_stop_grace = |ms| (10..=600_000).contains(&ms);
        let is_kept = |releases| (1..=100).contains(&releases);
        Ok(Config {
            host,
            port,
            allow_hosts,
            drain_seconds,
            ping_timeout: self.within(
                "ping_timeout",
                ping_timeout,
                is_ping_timeout,
                "0 (never) or 3 to 3600 seconds",
            )?,
            stop_grace_ms: self.within(
                "stop_grace_ms",
                stop_grace_ms,
                is_stop_grace,
                "10 to 600000 milliseconds",
            )?,
            limits,
            keep_releases: self.within("keep_releases", keep_releases, is_kept, "1 to 100 releases")?,
            features,
            container: Wanted {
                kind: container,
                global_arguments: container_global_args,
                run_arguments: container_args,
            },
            ..Config::default()
        })
    }

    /// A number for which `is_allowed` holds; `expected` says which those are.
    fn within(
        self,
        name: &str,
        value: Option<toml::Spanned<u64>>,
        is_allowed: impl Fn(u64) -> bool,
        expected: &str,
    ) -> Result<Option<u64>, ConfigError> {
        let Some(value) = value else { return Ok(None) };
        let number = *value.get_ref();
        match is_allowed(number) {
            true => Ok(Some(number)),
            false => {
                Err(self.invalid(value.span().start, format!("`{name}` is {number}; expected {expected}")))
            }
        }
    }
}

/// Adds the name that was probably meant, if serde lists the valid names.
fn with_nearest(message: &str) -> String {
    let Some((wrong, known)) = message.split_once(", expected ") else { return message.to_owned() };
    if !wrong.starts_with("unknown ") {
        return message.to_owned();
    }
    let quoted =
        |text: &str| -> Vec<String> { text.split('`').skip(1).step_by(2).map(str::to_owned).collect() };
    let (names, known) = (quoted(wrong), quoted(known));
    let near = names.first().map(|name| nearest(name, known.iter().map(String::as_str)));
    match near {
        Some(near) if !near.is_empty() => format!("{wrong}{near}"),
        _ => message.to_owned(),
    }
}

/// Everything that has a price.
fn priced_names() -> impl Iterator<Item = &'static str> {
    let instances = CpuInstance::ALL.iter().map(|instance| instance.id());
    instances.chain(GpuPool::ALL.iter().map(|pool| pool.id()))
}

/// The variables of `.env` in this directory; empty without the file.
pub(crate) fn load_dotenv(directory: &Path) -> Result<Vec<(String, String)>, ConfigError> {
    let path = directory.join(".env");
    match std::fs::read(&path) {
        Ok(file) => dotenv::parse(&file).map_err(|error| ConfigError::Invalid {
            path,
            line: error.line,
            message: error.to_string(),
        }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        // A directory of this name is probably a Python environment.
        Err(error) if error.kind() == io::ErrorKind::IsADirectory => Ok(Vec::new()),
        Err(source) => Err(ConfigError::Unreadable { path, source }),
    }
}

#[cfg(test)]
mod tests {
    use flash_protocol::{
        GpuPool,
        catalogue::{NanoDollars, PriceKey},
    };

    use super::*;

    fn parse(text: &str) -> Result<Config, String> {
        Config::parse(text, Path::new("flash.toml")).map_err(|error| error.to_string())
    }

    #[test]
    fn settings_and_prices_are_read() {
        let config = parse("[run]\nport = 9000\nlimits = false\n[prices]\nADA_24 = 0.0015\n").unwrap();
        assert_eq!((config.port, config.limits), (Some(9000), Some(false)));
        assert_eq!(config.prices.per_second(PriceKey::Gpu(GpuPool::Ada24)), Some(NanoDollars(1_500_000)));
    }

    #[test]
    fn the_dashboard_hides_values_when_it_is_told_to() {
        assert!(!parse("").unwrap().hides_values);
        assert!(parse("[dashboard]\nvalues = \"hidden\"\n").unwrap().hides_values);
        let wrong = parse("[dashboard]\nvalues = \"hiden\"\n").unwrap_err();
        assert!(wrong.starts_with("flash.toml:2: ") && wrong.contains("`hidden`"), "{wrong}");
    }

    #[test]
    fn the_container_engine_is_chosen_and_told_what_this_machine_needs() {
        let text = "[run]\ncontainer = \"docker\"\ncontainer_global_args = [\"--debug\"]\n\
                    container_args = [\"--memory=1g\"]\n";
        let container = parse(text).unwrap().container;
        assert_eq!(container.kind, Some(Kind::Docker));
        assert_eq!(
            (container.global_arguments, container.run_arguments),
            (vec!["--debug".to_owned()], vec!["--memory=1g".to_owned()])
        );
        let wrong = parse("[run]\n\ncontainer = \"lxc\"\n").unwrap_err();
        assert!(wrong.starts_with("flash.toml:3: ") && wrong.contains("`podman`"), "{wrong}");
    }

    #[test]
    fn a_mistake_is_named_with_its_line() {
        assert!(parse("[run]\n\nprot = 1\n").unwrap_err().starts_with("flash.toml:3: unknown field `prot`"));
        assert!(parse("[run]\nport = 99999\n").unwrap_err().starts_with("flash.toml:2: "));
        assert!(
            parse("[run]\nping_timeout = 2\n").unwrap_err().starts_with("flash.toml:2: `ping_timeout` is 2")
        );
        assert!(parse("[run]\n\nstop_grace_ms = 0\n").unwrap_err().starts_with("flash.toml:3: "));
        assert!(
            parse("[run]\nkeep_releases = 0\n").unwrap_err().starts_with("flash.toml:2: `keep_releases`")
        );
        assert!(parse("[run\n").unwrap_err().starts_with("flash.toml:1: "));
        assert!(parse("[prices]\nADA_25 = 1.0\n").unwrap_err().starts_with("flash.toml:2: `ADA_25`"));
        assert!(parse("[prices]\n\nADA_24 = -1.0\n").unwrap_err().starts_with("flash.toml:3: "));
    }

    #[test]
    fn a_broken_dotenv_line_is_named_without_its_text() {
        let directory = tempfile::TempDir::new().unwrap();
        std::fs::write(directory.path().join(".env"), "A=1\nthe secret line\n").unwrap();
        let error = load_dotenv(directory.path()).unwrap_err().to_string();
        assert!(error.contains(".env:2:") && !error.contains("secret"), "{error}");
    }
}
