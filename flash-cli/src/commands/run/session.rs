//! One `flash run`: builds a version of the app, serves it, reloads on changes, stops on signals.
use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use flash_logs::{LogLimits, LogStore, Sink};
use flash_plan::{Line, Plan};
use flash_platform::{
    Access, AllowedHosts, AllowedNetworks, Artifact, DashboardOptions, Images, LimitScope, NewRelease,
    Options, Platform, Retire, Supervision, Traces,
};
use flash_protocol::manifest::{FunctionEntry, Manifest};
use tokio::net::TcpListener;

use super::{
    image::BuiltImages,
    program_images::ProgramImages,
    state::{Keep, StoreLocation, api_key, curl, not_started, webhook_secret},
    stop::StopSignals,
    variable::traces_of_workers_only,
    workspace::{Settings, Versions},
};
use crate::{
    commands::{confirm::is_terminal, endpoint_table::endpoints, running},
    exit::{Failure, FailureCode},
    models::{Fetched, LockPolicy, ModelPlace, fetch},
    output::{Endpoint, Output},
    project::{self, Build, Config, LackingWorker, LastManifest, Package, SourceState},
    watch::{Scope, SourceWatcher},
};

/// See the module.
pub(super) struct Session {
    pub package: Package,
    pub origin: Origin,
    pub reload: bool,
    pub stop_on_eof: bool,
    pub drain_time: Duration,
    pub keep: Option<Keep>,
    pub supervision: Supervision,
    pub limits: bool,
    /// Whether the dashboard hides inputs and outputs of jobs.
    pub hides_values: bool,
    pub host: String,
    /// The host names under which it accepts requests without a key.
    pub allowed_hosts: AllowedHosts,
    pub output: Output,
    /// The images of worker types that are images built elsewhere.
    pub programs: ProgramImages,
    /// The sources of the latest build, wherever they are.
    pub read: BTreeSet<PathBuf>,
    /// Worker types that were reported to lack programs.
    pub lacking: Vec<LackingWorker>,
}

/// Where versions of the app come from.
pub(super) enum Origin {
    /// Its crate, built here.
    Crate(Build),
    /// The images of `flash build`.
    Images(Box<BuiltImages>),
}

/// How much of the log `flash logs --local` can show.
const LOG_LIMITS: LogLimits = LogLimits {
    segment_bytes: 4 << 20,
    total_bytes: 64 << 20,
    age: Duration::from_secs(14 * 24 * 3600),
    waiting_bytes: 16 << 20,
};

/// A path, and its target if it is or goes through a link: either may be written.
fn with_target(path: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    [Some(path.to_path_buf()), path.canonicalize().ok()].into_iter().flatten()
}

/// A version of the app that can be deployed.
struct Version {
    manifest: Manifest,
    artifact: Artifact,
    /// The images of worker types that are images built elsewhere.
    programs: Option<Arc<Images>>,
    settings: Settings,
    /// The directory of the model, by worker type.
    models: BTreeMap<String, PathBuf>,
}

/// What callers know of the app, and how it is called.
struct Announced {
    url: String,
    curl: String,
    manifest: Manifest,
}

impl Session {
    /// Serves until a signal.
    pub(super) async fn serve(mut self, listener: TcpListener) -> Result<(), Failure> {
        let mut stop = StopSignals::listen(self.stop_on_eof)?;
        let port = listener.local_addr().map_err(|error| Failure::failed(error.to_string()))?.port();
        let url = match self.host.contains(':') {
            true => format!("http://[{}]:{port}", self.host),
            false => format!("http://{}:{port}", self.host),
        };
        let versions = Versions::new(&self.package.directory).map_err(|error| {
            Failure::failed(format!("cannot write to {}: {error}", self.package.directory.display()))
        })?;
        // Watching starts before the first build, so that no save during it is missed.
        let mut watcher = match self.reload {
            true => Some(self.watch().await?),
            false => None,
        };
        let first = tokio::select! {
            version = self.first_version(&versions, &mut watcher) => version?,
            () = stop.next() => return Ok(()),
        };
        let Some(first) = first else { return Ok(()) };
        let platform = self.platform(listener, &versions)?;
        let app = first.manifest.app.name.clone();
        let program = curl(versions.directory(), &project::load_dotenv(&self.package.directory)?)?;
        let table = endpoints(&first.manifest, &first.settings.commands, &url, &program);
        let mut announced = Announced { url, curl: program, manifest: first.manifest.clone() };
        let outcome = tokio::select! {
            outcome = self.deploy(&platform, first) => Some(outcome),
            () = stop.next() => None,
        };
        match outcome {
            Some(Ok(())) => {}
            Some(Err(failure)) => {
                platform.stop().await;
                return Err(failure);
            }
            // Nothing is being served, and nothing will be.
            None => {
                self.stop(&platform, &mut stop).await;
                return Ok(());
            }
        }
        running::announce(versions.directory(), &announced.url).map_err(|error| {
            Failure::failed(format!("cannot write to {}: {error}", versions.directory().display()))
        })?;
        self.output.ready(&announced.url, &app, &table);
        if let Origin::Images(images) = &self.origin {
            tokio::select! {
                () = images.forget_former() => {}
                () = stop.next() => {
                    self.stop(&platform, &mut stop).await;
                    return Ok(());
                }
            }
        }
        loop {
            let changed = async {
                match &mut watcher {
                    Some(watcher) => watcher.changed().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                watched = changed => self.warn_of_unwatched(watched),
                () = stop.next() => break,
            }
            // A signal during a build cancels the build and stops.
            tokio::select! {
                () = self.try_reload(&platform, &versions, &mut watcher, &mut announced) => {}
                () = stop.next() => break,
            }
        }
        self.stop(&platform, &mut stop).await;
        Ok(())
    }

    /// Makes the first version. If the build fails on a terminal, it waits for a change and builds again, because someone
    /// is there to fix it.
    ///
    /// # Errors
    /// When it cannot be made, without a terminal or a watcher.
    async fn first_version(
        &mut self,
        versions: &Versions,
        watcher: &mut Option<SourceWatcher>,
    ) -> Result<Option<Version>, Failure> {
        loop {
            let failure = match self.next_version(versions, watcher).await {
                Ok(version) => return Ok(version),
                Err(failure) => failure,
            };
            let Some(watcher) = watcher.as_mut().filter(|_| is_terminal()) else { return Err(failure) };
            self.output.error(&failure.to_string());
            self.output.status("Waiting", "for a change, to build again; press Ctrl-C to stop");
            let watched = watcher.changed().await;
            self.warn_of_unwatched(watched);
        }
    }

    /// The inputs of a version.
    fn scope(&self) -> Scope {
        let package = &self.package;
        match &self.origin {
            Origin::Crate(_) => {
                let outputs = [&package.target_directory, &package.build_directory];
                let settings = ["flash.toml", ".env"].map(|name| package.directory.join(name));
                let read = settings.iter().chain(package.build_inputs()).chain(&self.read);
                let (directories, files): (Vec<_>, Vec<_>) = read.cloned().partition(|path| path.is_dir());
                Scope::new(
                    package.sources.iter().cloned(),
                    outputs.into_iter().flat_map(|path| with_target(path)),
                )
                .with_directories(directories)
                .with_files(files)
            }
            Origin::Images(images) => Scope::new([], []).with_files(images.files(&package.directory)),
        }
    }

    async fn watch(&self) -> Result<SourceWatcher, Failure> {
        SourceWatcher::new(self.scope()).await.map_err(|error| {
            Failure::failed(format!("cannot watch the sources: {error}"))
                .hint("run without watching: flash run --no-reload")
        })
    }

    /// Watches newly found sources of a build that began at this time.
    async fn watch_also(&self, watcher: &mut Option<SourceWatcher>, began: SystemTime) {
        if let Some(watcher) = watcher {
            self.warn_of_unwatched(watcher.set(self.scope(), began).await);
        }
    }

    fn warn_of_unwatched(&self, watched: notify::Result<()>) {
        if let Err(error) = watched {
            self.output.warning(&format!("cannot watch all sources: {error}; restart flash run"));
        }
    }

    fn platform(&self, listener: TcpListener, versions: &Versions) -> Result<Platform, Failure> {
        let package = &self.package.directory;
        let dotenv = project::load_dotenv(package)?;
        let StoreLocation { directory, durability } =
            StoreLocation::new(package, versions.directory(), self.keep);
        let api_key = api_key(&dotenv)?;
        let is_loopback = listener.local_addr().is_ok_and(|address| address.ip().is_loopback());
        if api_key.is_none() && !is_loopback {
            self.output.warning(&format!(
                "anyone who can reach {} can run functions: set FLASH_API_KEY to require a key",
                self.host
            ));
        }
        if let Some(name) = traces_of_workers_only(&dotenv) {
            self.output.warning(&format!(
                "{name} in .env counts for workers only; set it in the environment of flash run to trace whole requests"
            ));
        }
        let log = versions.directory().join("log");
        let log = LogStore::open(&log, LOG_LIMITS)
            .map_err(|error| Failure::failed(format!("cannot keep a log in {}: {error}", log.display())))?;
        let (output, kept) = (self.output.clone(), log.sink());
        let sink: Sink = Arc::new(move |line| {
            output.log(&line);
            kept(line);
        });
        let options = Options {
            machine: None,
            listener,
            traces: Traces::from_env("local", &sink),
            log: sink,
            dashboard: DashboardOptions {
                place: "flash run".to_owned(),
                log: Some(log.clone()),
                cost_command: None,
                releases: None,
                daily_costs: None,
                hides_values: Arc::new(self.hides_values.into()),
            },
            readable_log: Some(log),
            drain_time: self.drain_time,
            limits: match (self.limits, &self.origin) {
                (false, _) => LimitScope::None,
                (true, Origin::Crate(_)) => LimitScope::All,
                (true, Origin::Images(_)) => LimitScope::Containers,
            },
            confinement: None,
            supervision: self.supervision,
            store: directory,
            durability,
            webhook_secret: webhook_secret(package, &dotenv)?,
            webhook_networks: AllowedNetworks::All,
            access: api_key.map_or_else(|| Access::Open(self.allowed_hosts.clone()), Access::Key),
            retire: Retire::AfterLongestRun,
        };
        Platform::start(options).map_err(|error| not_started(&error))
    }

    /// Makes a version; `None` if nothing changed since the last one.
    async fn version(&mut self, versions: &Versions) -> Result<Option<Version>, Failure> {
        match &self.origin {
            Origin::Crate(build) => {
                let build = build.clone();
                self.built(&build, versions).await
            }
            Origin::Images(images) => {
                let (config, settings) = self.settings()?;
                let version = images.version(&config, &settings, versions.directory(), &self.output).await?;
                let Some((manifest, built)) = version else { return Ok(None) };
                let programs = match self.programs(&config, &settings, versions).await {
                    Ok(programs) => programs,
                    Err(failure) => {
                        images.forget_latest();
                        return Err(failure);
                    }
                };
                let artifact = Artifact::Images(Arc::new(built));
                // An image has the files, as a layer.
                Ok(Some(Version { manifest, artifact, programs, settings, models: BTreeMap::new() }))
            }
        }
    }

    /// Builds the app and reads its manifest.
    async fn built(&mut self, build: &Build, versions: &Versions) -> Result<Option<Version>, Failure> {
        if let Some(last) = LastManifest::load(&self.package.directory)
            && let Err(error) = self.settings()?.0.check_against(&last.manifest)
            && last.is_current(&self.package).await
        {
            return Err(error.into());
        }
        let sources = SourceState::of(&self.package).await;
        let profile = if build.arguments.is_empty() { "dev" } else { "release" };
        project::print_first_build(&self.package, None, profile, &self.output);
        let built = project::build(&self.package, build, &self.output).await?;
        self.read = built.files.iter().flat_map(|path| with_target(path)).collect();
        let built = built.program;
        let (config, settings) = self.settings()?;
        self.read.extend(settings.files.iter().flat_map(|(file, _)| with_target(file)));
        let program = versions
            .keep(&built, &settings)
            .await
            .map_err(|error| Failure::failed(format!("cannot copy {}: {error}", built.display())))?;
        let Some(program) = program else { return Ok(None) };
        self.warn_of_programs(&config, &settings);
        match project::describe(&program, &self.package.directory, &[], &config).await {
            Ok(manifest) => {
                LastManifest::keep(&self.package.directory, sources, &manifest);
                let fetched = async {
                    let models = self.models(&manifest).await?;
                    Ok((models, self.programs(&config, &settings, versions).await?))
                };
                match fetched.await {
                    Ok((models, programs)) => {
                        let artifact = Artifact::Binary(program);
                        Ok(Some(Version { manifest, artifact, programs, settings, models }))
                    }
                    // The same binary may run once its models and images are here.
                    Err(failure) => {
                        versions.forget_latest();
                        Err(failure)
                    }
                }
            }
            Err(error) => {
                // The version is unusable: the same binary must be examined again.
                versions.forget_latest();
                Err(error.into())
            }
        }
    }

    /// Fetches the images of worker types that are images, before any worker starts.
    async fn programs(
        &self,
        config: &Config,
        settings: &Settings,
        versions: &Versions,
    ) -> Result<Option<Arc<Images>>, Failure> {
        self.programs.fetch(config, settings, self.limits, versions.directory(), &self.output).await
    }

    /// Fetches the models that are not here, before any worker starts.
    async fn models(&self, manifest: &Manifest) -> Result<BTreeMap<String, PathBuf>, Failure> {
        let directory = &self.package.directory;
        let mut place = ModelPlace::open(directory, &project::load_dotenv(directory)?)?;
        let (written, models) = fetch(manifest, &mut place, LockPolicy::Extend, &self.output).await?;
        if written {
            self.output.status("Locked", &format!("{}: check it into git", place.lock_path().display()));
        }
        let of_workers = |fetched: Fetched| {
            let directory = fetched.directory;
            fetched.model.workers.into_keys().map(move |worker| (worker, directory.clone()))
        };
        Ok(models.into_iter().flat_map(of_workers).collect())
    }

    /// Warns of programs that worker types lack on this machine: of each worker type once, until that changes.
    fn warn_of_programs(&mut self, config: &Config, settings: &Settings) {
        let variables = settings.environment.iter().map(|(name, value)| (name, value));
        let path = project::search_path(variables);
        let lacking = project::lacking(config.needs(), &self.package.directory, path.as_deref());
        for worker in lacking.iter().filter(|worker| !self.lacking.contains(worker)) {
            self.output
                .warning(&format!("{worker}: install it, or run the worker's image: flash run --image"));
        }
        self.lacking = lacking;
    }

    /// The settings of a version, apart from its code. Read for each version, so that a saved price or command
    /// takes effect; address and features are fixed at start.
    fn settings(&self) -> Result<(Config, Settings), Failure> {
        let environment: Vec<(String, String)> = project::load_dotenv(&self.package.directory)?
            .into_iter()
            // The platform's own variables cannot be set by the project, and workers must not get a cloud key.
            .filter(|(name, _)| !name.starts_with("FLASH_") && !name.starts_with("RUNPOD_"))
            .collect();
        let config = Config::load(&self.package.directory)?;
        let commands = config.commands();
        let files = project::files_of(&commands, &self.package.directory);
        let settings = Settings { environment, prices: config.prices.clone(), commands, files };
        Ok((config, settings))
    }

    async fn deploy(&self, platform: &Platform, version: Version) -> Result<(), Failure> {
        let Version { manifest, artifact, programs, settings, models } = version;
        let Settings { environment, prices, commands, .. } = settings;
        let directory = self.package.directory.clone();
        let release = NewRelease {
            number: None,
            manifest,
            commands,
            artifact,
            programs,
            directory,
            environment,
            prices,
            models,
        };
        platform.deploy(release, |_| ()).await.map_err(|error| Failure::of(FailureCode::Failed, &error))
    }

    /// Reads the package again: its name or its crates may have changed.
    async fn renew_package(&mut self, watcher: &mut Option<SourceWatcher>) -> Result<(), Failure> {
        if matches!(self.origin, Origin::Images(_)) {
            return Ok(());
        }
        let package = self.package.clone();
        let renewed = tokio::task::spawn_blocking(move || package.renewed());
        let renewed = renewed.await.map_err(|error| Failure::failed(format!("a task failed: {error}")))?;
        let Some(renewed) = renewed? else { return Ok(()) };
        self.package = renewed;
        // Before the build reads them.
        self.watch_also(watcher, SystemTime::now()).await;
        Ok(())
    }

    /// Makes a version from the package as it is now, and watches the sources that it was made of, also if it failed.
    async fn next_version(
        &mut self,
        versions: &Versions,
        watcher: &mut Option<SourceWatcher>,
    ) -> Result<Option<Version>, Failure> {
        let began = SystemTime::now();
        let version = match self.renew_package(watcher).await {
            Ok(()) => self.version(versions).await,
            Err(failure) => Err(failure),
        };
        self.watch_also(watcher, began).await;
        version
    }

    async fn try_reload(
        &mut self,
        platform: &Platform,
        versions: &Versions,
        watcher: &mut Option<SourceWatcher>,
        announced: &mut Announced,
    ) {
        let started = Instant::now();
        let version = match self.next_version(versions, watcher).await {
            Ok(Some(version)) => version,
            // What serves is what there is, also where the last change broke it and this one took that back.
            Ok(None) => return platform.set_build_problem(None),
            Err(failure) => {
                platform.set_build_problem(Some(&failure.whole()));
                return self.output.reloaded(Err(&failure));
            }
        };
        let (manifest, commands) = (version.manifest.clone(), version.settings.commands.clone());
        match self.deploy(platform, version).await {
            Ok(()) => {
                platform.set_build_problem(None);
                self.output.reloaded(Ok(started.elapsed()));
                let table = endpoints(&manifest, &commands, &announced.url, &announced.curl);
                self.print_changes(&announced.manifest, &manifest, &table);
                announced.manifest = manifest;
            }
            Err(failure) => {
                match &self.origin {
                    Origin::Crate(_) => versions.forget_latest(),
                    Origin::Images(images) => images.forget_latest(),
                }
                platform.set_build_problem(Some(&failure.whole()));
                self.output.reloaded(Err(&failure));
            }
        }
    }

    /// What changed for callers, and how to call what is new, like the table at the start.
    fn print_changes(&self, before: &Manifest, after: &Manifest, table: &[Endpoint]) {
        for change in Plan::of_app(before, after) {
            for Line { mark, text } in change.lines() {
                self.output.status(mark.sign(), &text);
            }
        }
        let is_new = |row: &&Endpoint| {
            let is_old = |own: &FunctionEntry| own.call_name() == row.function && own.worker == row.worker;
            !before.functions.iter().any(is_old) && after.functions.iter().any(is_old)
        };
        table.iter().filter(is_new).for_each(|row| self.output.status("Try", &row.curl));
    }

    async fn stop(&self, platform: &Platform, stop: &mut StopSignals) {
        let drain = self.drain_time.as_secs();
        self.output.status(
            "Stopping",
            &format!(
                "when running work is done, in {drain} s at the latest; press Ctrl-C again to stop at once"
            ),
        );
        tokio::select! {
            clean = platform.stop() => {
                if !clean {
                    self.output.warning("work still running after the drain time was stopped");
                }
            }
            () = stop.next() => {
                platform.kill();
                self.output.warning("stopped at once: running work was cut off");
            }
        }
    }
}
