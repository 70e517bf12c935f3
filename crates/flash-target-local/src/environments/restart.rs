//! Restarts an environment: its port, its live release, older releases with work left.
//!
//! Retried until it succeeds. An environment that cannot be restarted does not hold up the others.
use std::{io, sync::Arc, time::Duration};

use flash_platform::{
    Access, AllowedNetworks, Artifact, Confinement, Durability, LimitScope, Machine, NewRelease, Options,
    Platform, Retire, Supervision,
};
use flash_process::port_holder::holder_of;
use flash_protocol::catalogue::PriceList;
use flash_target::{ArtifactSpec, Problem, ReleaseSpec, RuntimeSettings, TargetError};
use flash_text::error_chain;

use crate::{artifact, cipher::Cipher, database::Database};
use tokio::net::TcpListener;

use super::{
    Environments, blocking,
    change::{commands, expected},
    running::{RunState, Running, Versions},
};

/// The pause between tries.
const BETWEEN_TRIES: Duration = Duration::from_secs(3);

impl Environments {
    /// Retries until it runs as it should, is removed, or the service ends.
    pub(super) async fn restart(self, running: Arc<Running>) {
        loop {
            let tried = tokio::select! {
                tried = self.try_restart(&running) => tried,
                () = self.shared.closing.cancelled() => return,
            };
            match tried {
                Ok(()) => {
                    running.set_trouble(None);
                    return;
                }
                Err(reason) => running.set_trouble(Some(reason)),
            }
            tokio::select! {
                () = tokio::time::sleep(BETWEEN_TRIES) => {}
                () = running.gone.cancelled() => return,
                () = self.shared.closing.cancelled() => return,
            }
        }
    }

    async fn try_restart(&self, running: &Arc<Running>) -> Result<(), String> {
        let text = |error: TargetError| error.message;
        let _change = running.begin_own().ok_or("it is being changed")?;
        let key = running.stored.key;
        let live = self.ask(move |database| database.live_number(key)).await.map_err(text)?;
        let spec = match live {
            Some(number) => Some(self.stored_spec(running, number).await.map_err(text)?),
            None => None,
        };
        let platform = match running.state() {
            RunState::Up { platform, .. } => platform,
            RunState::Down { .. } => {
                let listener = listen(running).await?;
                let runtime = spec.as_ref().map(|spec| spec.runtime.clone()).unwrap_or_default();
                self.start_platform_with(running, listener, runtime).await.map_err(text)?
            }
        };
        platform.expect(expected(live));
        // First, so that their jobs are always visible.
        self.resume_stored(running, &platform, live).await;
        if let Some((number, spec)) = live.zip(spec.as_ref())
            && platform.overview().live != live
        {
            self.check_artifact(running, spec).await.map_err(text)?;
            let new = self.new_release(running, number, spec).await.map_err(text)?;
            platform.deploy(new, |_| ()).await.map_err(|error| error_chain(&error))?;
        }
        if live.is_some() {
            platform.adopt_rest();
        }
        Ok(())
    }

    /// Has all releases with jobs left finish them, except the one that is, or will be, live.
    pub(super) async fn resume_stored(&self, running: &Arc<Running>, platform: &Platform, live: Option<u64>) {
        for number in platform.stored_releases().into_iter().filter(|number| Some(*number) != live) {
            if let Err(error) = self.resume(running, platform, number).await {
                // Its jobs go to the live release, once there is one.
                let id = &running.stored.id;
                self.shared
                    .report
                    .warning(&format!("{id}: release {number} cannot finish its jobs: {error}"));
            }
        }
    }

    async fn resume(
        &self,
        running: &Arc<Running>,
        platform: &Platform,
        number: u64,
    ) -> Result<(), TargetError> {
        let spec = self.stored_spec(running, number).await?;
        self.check_artifact(running, &spec).await?;
        let old = self.new_release(running, number, &spec).await?;
        platform.resume(old).await;
        Ok(())
    }

    /// The spec of a release.
    pub(super) async fn stored_spec(
        &self,
        running: &Running,
        number: u64,
    ) -> Result<ReleaseSpec, TargetError> {
        let key = running.stored.key;
        self.ask(move |database| database.spec(key, number)).await?.ok_or_else(|| {
            TargetError::new(Problem::NotFound, format!("{} has no release {number}", running.stored.id))
                .hint(format!("to list them: flash deploy history {}", running.stored.id.name))
        })
    }

    pub(super) async fn check_artifact(
        &self,
        running: &Arc<Running>,
        spec: &ReleaseSpec,
    ) -> Result<(), TargetError> {
        let (directory, artifact) = (running.directory.clone(), spec.artifact.clone());
        blocking(move || artifact::check(&directory, &artifact)).await
    }

    /// Makes it listen, with nothing deployed yet.
    pub(super) async fn start_platform(
        &self,
        running: &Arc<Running>,
        listener: TcpListener,
    ) -> Result<(), TargetError> {
        self.start_platform_with(running, listener, RuntimeSettings::default()).await.map(|_| ())
    }

    async fn start_platform_with(
        &self,
        running: &Arc<Running>,
        listener: TcpListener,
        runtime: RuntimeSettings,
    ) -> Result<Platform, TargetError> {
        let options = options(running, listener, &runtime, &self.shared.machine);
        let handle = tokio::runtime::Handle::current();
        let platform = blocking(move || {
            // It reads its store and spawns tasks.
            let _within = handle.enter();
            Platform::start(options).map_err(|error| TargetError::new(Problem::Failed, error_chain(&error)))
        })
        .await?;
        running.set_state(RunState::Up { platform: platform.clone(), runtime, trouble: None });
        Ok(platform)
    }

    /// While nothing is live, a platform can be replaced by one with the options of the first release.
    pub(super) async fn fit_platform(
        &self,
        running: &Arc<Running>,
        wanted: &RuntimeSettings,
    ) -> Result<Platform, TargetError> {
        let (platform, runtime) = match running.state() {
            RunState::Up { platform, runtime, .. } => (platform, runtime),
            RunState::Down { .. } => {
                let listener = listen(running).await.map_err(|reason| {
                    TargetError::new(Problem::Failed, reason)
                        .hint("stop the program that listens there; the environment keeps its port")
                })?;
                return self.start_platform_with(running, listener, wanted.clone()).await;
            }
        };
        let overview = platform.overview();
        // The platform does not need the number of kept releases.
        let fits = runtime == RuntimeSettings { keep_releases: runtime.keep_releases, ..wanted.clone() };
        if fits || overview.live.is_some() || !overview.draining.is_empty() {
            return Ok(platform);
        }
        platform.stop().await;
        self.record_final_costs(running).await;
        let listener = listen(running).await.map_err(|reason| TargetError::new(Problem::Failed, reason))?;
        self.start_platform_with(running, listener, wanted.clone()).await
    }

    /// What the platform needs to run a release.
    pub(super) async fn new_release(
        &self,
        running: &Arc<Running>,
        number: u64,
        spec: &ReleaseSpec,
    ) -> Result<NewRelease, TargetError> {
        let (of, environments, spec) = (running.clone(), self.clone(), spec.clone());
        blocking(move || {
            let shared = &environments.shared;
            let secrets = open_secrets(&shared.database, &shared.cipher, &of, &spec.secrets)?;
            let directory = artifact::work_directory(&of.directory, number, &spec.artifact)?;
            let prices = spec.prices.iter().map(|(name, price)| (name.as_str(), *price));
            let prices = PriceList::with_overrides(prices)
                .map_err(|error| TargetError::new(Problem::Refused, error_chain(&error)))?;
            let mut manifest = spec.manifest.clone();
            let is_command = |name: &str| spec.commands.iter().any(|own| own.worker_type.name == name);
            // The platform adds them itself.
            manifest.workers.retain(|worker| !is_command(&worker.name));
            Ok::<_, TargetError>(NewRelease {
                number: Some(number),
                manifest,
                commands: commands(&spec.commands),
                artifact: match &spec.artifact {
                    ArtifactSpec::Binaries { .. } => {
                        Artifact::Binaries(Arc::new(artifact::programs(&of.directory, &spec.artifact)))
                    }
                    ArtifactSpec::Images { .. } => {
                        let message = "the local target runs binaries, not images";
                        return Err(TargetError::new(Problem::Refused, message));
                    }
                },
                directory,
                environment: spec.variables.clone().into_iter().chain(secrets).collect(),
                prices,
            })
        })
        .await
    }
}

/// Opens the environment's port.
///
/// # Errors
/// Why it cannot be opened, and which process holds it.
async fn listen(running: &Running) -> Result<TcpListener, String> {
    let (port, listen) = (running.stored.port, running.stored.listen);
    let error = match TcpListener::bind(running.address()).await {
        Ok(listener) => return Ok(listener),
        Err(error) => error,
    };
    if error.kind() != io::ErrorKind::AddrInUse {
        return Err(format!("cannot listen on {listen}, port {port}: {error}"));
    }
    let holder = tokio::task::spawn_blocking(move || holder_of(port)).await.ok().flatten();
    let holder = holder.map_or(String::new(), |holder| format!(", {holder}"));
    Err(format!("port {port} of {listen} is in use by another program{holder}"))
}

/// The secrets of a release, only for its workers' environment.
fn open_secrets(
    database: &Database,
    cipher: &Cipher,
    running: &Running,
    versions: &Versions,
) -> Result<Vec<(String, String)>, TargetError> {
    let stored = database.sealed_secrets(running.stored.key, versions)?;
    stored
        .into_iter()
        .map(|secret| {
            let problem = |reason: String| {
                TargetError::new(Problem::Failed, format!("the secret `{}`: {reason}", secret.name)).hint(
                    format!("set it again: flash secret set {} {}", running.stored.id.name, secret.name),
                )
            };
            let sealed = secret.sealed.as_ref().ok_or_else(|| problem("its value was deleted".to_owned()))?;
            let place = super::access::place(running, &secret.name, secret.version);
            let value = cipher.open_sealed(&place, sealed).map_err(|error| problem(error_chain(&error)))?;
            Ok((secret.name.clone(), value.expose().to_owned()))
        })
        .collect()
}

fn options(
    running: &Running,
    listener: TcpListener,
    runtime: &RuntimeSettings,
    machine: &Machine,
) -> Options {
    let default = Supervision::default();
    Options {
        listener,
        log: running.logs.sink(),
        drain_time: Duration::from_secs(runtime.drain_seconds),
        store: running.directory.jobs(),
        durability: Durability::Machine,
        webhook_secret: running.webhook_secret.clone(),
        webhook_networks: AllowedNetworks::PublicAnd(runtime.webhook_networks.as_slice().into()),
        access: Access::Ring(running.ring.clone()),
        retire: Retire::WhenIdle,
        supervision: Supervision {
            ping_timeout: match runtime.ping_timeout_seconds {
                0 => None,
                seconds => Some(Duration::from_secs(seconds)),
            },
            stop_grace: match runtime.stop_grace_ms {
                0 => default.stop_grace,
                grace => Duration::from_millis(grace),
            },
        },
        limits: if runtime.limits { LimitScope::All } else { LimitScope::None },
        confinement: Some(Confinement {
            closed: running.directory.data().to_owned(),
            open: vec![running.directory.work()],
            readable: vec![running.directory.artifacts()],
        }),
        machine: Some(machine.clone()),
    }
}
