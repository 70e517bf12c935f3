//! The platform of an environment: its port, its options, and when it is replaced by one with other options.
use std::{
    io,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use flash_platform::{
    Access, AllowedNetworks, Confinement, DashboardOptions, Durability, Expected, LimitScope, Options,
    Platform, Retire, Supervision, Traces,
};
use flash_process::port_holder::holder_of;
use flash_target::{Problem, RuntimeSettings, TargetError};
use tokio::net::TcpListener;

use super::{
    blocking::blocking,
    costs,
    days::DaysOf,
    host::Host,
    running::{RunState, Running},
};

/// Makes it listen, with nothing deployed yet.
pub(super) async fn start(
    host: &Host,
    running: &Arc<Running>,
    listener: TcpListener,
) -> Result<(), TargetError> {
    start_with(host, running, listener, RuntimeSettings::default()).await.map(|_| ())
}

/// Makes it listen, with the options of a release.
pub(super) async fn start_with(
    host: &Host,
    running: &Arc<Running>,
    listener: TcpListener,
    runtime: RuntimeSettings,
) -> Result<Platform, TargetError> {
    let options = options(running, listener, &runtime, host);
    running.hides_values.store(runtime.hides_values, Ordering::Relaxed);
    let handle = tokio::runtime::Handle::current();
    let platform = blocking(move || {
        // It reads its store and spawns tasks.
        let _within = handle.enter();
        Platform::start(options).map_err(|error| TargetError::of(Problem::Failed, error))
    })
    .await?;
    running.set_state(RunState::Up { platform: platform.clone(), runtime, trouble: None });
    Ok(platform)
}

/// While nothing is live, a platform can be replaced by one with the options of the first release.
pub(super) async fn fit(
    host: &Host,
    running: &Arc<Running>,
    wanted: &RuntimeSettings,
) -> Result<Platform, TargetError> {
    let (platform, runtime) = match running.state() {
        RunState::Up { platform, runtime, .. } => (platform, runtime),
        RunState::Down { .. } => {
            let listener = listen(running).await.map_err(|error| {
                error.hint("stop the program that listens there; the environment keeps its port")
            })?;
            return start_with(host, running, listener, wanted.clone()).await;
        }
    };
    let overview = platform.overview();
    // The platform does not need the number of kept releases; what its dashboard hides can change at any time.
    let RuntimeSettings { keep_releases, hides_values, .. } = runtime;
    let fits = runtime == RuntimeSettings { keep_releases, hides_values, ..wanted.clone() };
    if fits || overview.live.is_some() || !overview.draining.is_empty() {
        return Ok(platform);
    }
    platform.stop().await;
    costs::record_final(host, running).await;
    let listener = listen(running).await?;
    start_with(host, running, listener, wanted.clone()).await
}

/// Opens the environment's port.
///
/// # Errors
/// Why it cannot be opened, and which process holds it.
pub(super) async fn listen(running: &Running) -> Result<TcpListener, TargetError> {
    let (port, listen) = (running.stored.port, running.stored.listen);
    let error = match TcpListener::bind(running.address()).await {
        Ok(listener) => return Ok(listener),
        Err(error) => error,
    };
    if error.kind() != io::ErrorKind::AddrInUse {
        let message = format!("cannot listen on {listen}, port {port}");
        return Err(TargetError::new(Problem::Failed, message).because(error));
    }
    let holder = tokio::task::spawn_blocking(move || holder_of(port)).await.ok().flatten();
    let holder = holder.map_or(String::new(), |holder| format!(", {holder}"));
    let message = format!("port {port} of {listen} is in use by another program{holder}");
    Err(TargetError::new(Problem::Failed, message))
}

fn options(
    running: &Running,
    listener: TcpListener,
    runtime: &RuntimeSettings,
    Host { machine, database, history, .. }: &Host,
) -> Options {
    let default = Supervision::default();
    Options {
        listener,
        log: running.logs.sink(),
        // Its readers ask the service.
        readable_log: None,
        dashboard: DashboardOptions {
            place: running.stored.id.name.clone(),
            log: Some(running.logs.store()),
            cost_command: Some(format!("flash cost {}", running.stored.id.name)),
            daily_costs: Some(Arc::new(DaysOf::new(database.clone(), running.stored.key))),
            releases: Some(history(&running.stored.id)),
            hides_values: running.hides_values.clone(),
        },
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
        traces: Traces::from_env(&running.stored.id.name, &running.logs.sink()),
    }
}

/// What a platform that has just started waits for.
pub(super) fn expected(live: Option<u64>) -> Expected {
    match live {
        Some(_) => Expected::Restored,
        None => Expected::Nothing,
    }
}
