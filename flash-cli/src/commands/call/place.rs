//! What a call goes to: an environment, or a running `flash run`.
use std::time::Duration;

use flash_protocol::{
    catalogue::{NanoDollars, PriceList},
    credentials::{self, Credentials},
    manifest::{Manifest, WorkerType},
    variables,
};
use flash_target::{EnvironmentId, ReleaseSpec, Target, TargetKind};

use super::{find::Callee, send::Called};
use crate::{
    commands::{
        running::{RunningApp, RunningArguments},
        scope::{Scope, ScopeArguments, reachable},
    },
    exit::{Failure, FailureCode},
};

/// How long to wait for a result beyond the function's time limit in a cloud, where a machine may have to be found and
/// the image pulled first.
const CLOUD_START_ALLOWANCE: Duration = Duration::from_secs(600);

/// See the module.
pub(super) enum Place {
    Environment { scope: Scope, spec: Box<ReleaseSpec> },
    Running { app: RunningApp, manifest: Box<Manifest> },
}

impl Place {
    /// The place that is meant, and what can be called there.
    ///
    /// # Errors
    /// When it is not clear which one is meant, or it cannot be asked.
    pub(super) async fn find(
        running: &RunningArguments,
        scope: &ScopeArguments,
        environment: Option<&str>,
    ) -> Result<Self, Failure> {
        if let Some(app) = RunningApp::find(running, scope, environment)? {
            let manifest = Box::new(app.manifest().await?);
            return Ok(Self::Running { app, manifest });
        }
        let found = scope.environment(environment).await;
        let scope = found.map_err(|failure| RunningApp::suggested(failure, scope))?;
        let spec = Box::new(scope.target.spec(&scope.id, None).await?);
        Ok(Self::Environment { scope, spec })
    }

    pub(super) fn manifest(&self) -> &Manifest {
        match self {
            Self::Environment { spec, .. } => &spec.manifest,
            Self::Running { manifest, .. } => manifest,
        }
    }

    /// The command line that applies a command to this place.
    pub(super) fn command(&self, command: &str) -> String {
        match self {
            Self::Environment { scope, .. } => format!("flash {command} {}", scope.id.name),
            Self::Running { app, .. } => app.command(command),
        }
    }

    /// Where all that can be called is listed.
    pub(super) fn list(&self) -> String {
        match self {
            Self::Environment { scope, .. } => format!("flash deploy info {}", scope.id.name),
            Self::Running { app, .. } => format!("{}/docs", app.url),
        }
    }

    /// How messages name it.
    pub(super) fn called(&self) -> Called {
        let logs = self.command("logs");
        match self {
            Self::Environment { scope: Scope { id, target }, .. } => Called {
                name: id.to_string(),
                look: format!("flash status {}", id.name),
                logs,
                other_key: match target.kind() {
                    TargetKind::Local | TargetKind::Kubernetes => format!("flash key new {} --use", id.name),
                    TargetKind::Runpod => "flash login".to_owned(),
                },
            },
            Self::Running { app, .. } => Called {
                name: app.url.clone(),
                look: "is `flash run` still running?".to_owned(),
                logs,
                other_key: "set FLASH_API_KEY to the key of `flash run`".to_owned(),
            },
        }
    }

    /// The address of the callee's worker type: of its queue, or what its routes are below.
    ///
    /// # Errors
    /// When it has none.
    pub(super) async fn address(&self, callee: &Callee<'_>) -> Result<String, Failure> {
        let worker = callee.worker();
        match self {
            Self::Environment { scope: Scope { id, target }, .. } => {
                let environment = reachable(id, target.as_ref()).await?;
                let endpoint = environment.endpoints.into_iter().find(|endpoint| endpoint.worker == worker);
                endpoint.map(|endpoint| endpoint.url).ok_or_else(|| {
                    Failure::failed(format!("worker type `{worker}` has no address in {id}"))
                        .hint(format!("flash status {}", id.name))
                })
            }
            Self::Running { app, .. } => Ok(match callee {
                Callee::Route(_) => app.url.clone(),
                Callee::Job { .. } => format!("{}/v2/{worker}", app.url),
            }),
        }
    }

    /// The price of one second of a queue function's worker, for platforms that do not meter jobs.
    pub(super) fn price(&self, callee: &Callee<'_>) -> Option<NanoDollars> {
        let Self::Environment { scope, spec } = self else { return None };
        if scope.target.kind() != TargetKind::Runpod {
            return None;
        }
        let prices = spec.prices.iter().map(|(name, price)| (name.as_str(), *price));
        let prices = PriceList::with_overrides(prices).ok()?;
        spec.manifest.worker(callee.worker())?.compute.price_per_second(&prices)
    }

    /// The longest to wait for a result, if the user does not say.
    pub(super) fn timeout(&self, callee: &Callee<'_>) -> Duration {
        let worker = self.manifest().worker(callee.worker());
        let limit = worker.map_or(0, |worker| worker.execution_timeout_seconds);
        let start = worker.map_or(Duration::ZERO, WorkerType::start_allowance);
        let start = match self {
            Self::Environment { scope, .. } if scope.target.kind() == TargetKind::Runpod => {
                CLOUD_START_ALLOWANCE.max(start)
            }
            _ => start,
        };
        Duration::from_secs(limit.into()) + start
    }

    /// The key that it requires; a `flash run` may require none.
    ///
    /// # Errors
    /// When there is none for an environment.
    pub(super) fn key(&self) -> Result<Option<String>, Failure> {
        match self {
            Self::Environment { scope, .. } => key_for(&scope.id, scope.target.as_ref()).map(Some),
            Self::Running { app, .. } => Ok(app.key.clone()),
        }
    }
}

/// The user's key for an environment.
///
/// # Errors
/// When there is none.
pub(in crate::commands) fn key_for(id: &EnvironmentId, target: &dyn Target) -> Result<String, Failure> {
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
        let file = credentials::directory().map(|directory| Credentials::path(&directory));
        let file = file.map_or_else(|| "the credential file".to_owned(), |file| file.display().to_string());
        Failure::unusable(format!("no key for {id}: {} is not set, and {file} has none", variables::API_KEY))
            .hint(format!("flash key new {} --use", id.name))
    })
}
