//! Changes of what is live: send, roll back, undeploy. One at a time per environment.
use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use flash_platform::DeployError;
use flash_target::{
    EnvironmentId, PlanOf, Problem, ReleaseRecord, ReleaseSpec, ReleaseState, Step, TargetError, live_before,
};

use super::{
    host::Host,
    platform, prune, release,
    running::{RunState, Running},
};
use crate::{
    database::{NewRow, StoredRelease},
    utc::utc,
};

/// How often to retry recording the live release, and the pause between tries.
const TRIES: u32 = 5;
const BETWEEN_TRIES: Duration = Duration::from_millis(500);
/// How many releases to list in an error about an unknown one.
const SHOWN_NUMBERS: usize = 10;

/// Called for each step. A change has a handful of steps, and one per worker type.
pub(crate) type Steps = tokio::sync::mpsc::UnboundedSender<Step>;

/// A release to be made.
struct Wanted {
    spec: ReleaseSpec,
    notes: Option<String>,
    rollback_of: Option<u64>,
}

/// Deploys what was staged.
pub(super) async fn send(
    host: &Host,
    id: &EnvironmentId,
    base: Option<u64>,
    spec: ReleaseSpec,
    notes: Option<String>,
    steps: &Steps,
) -> Result<ReleaseRecord, TargetError> {
    let running = host.find(id)?;
    let _change = running.begin().await?;
    let live = live(host, &running).await?;
    is_still(id, base, live.as_ref(), PlanOf::Send)?;
    deploy(host, &running, live.as_ref(), Wanted { spec, notes, rollback_of: None }, steps).await
}

/// Makes a new release from an earlier one.
pub(super) async fn rollback(
    host: &Host,
    id: &EnvironmentId,
    base: Option<u64>,
    to: Option<u64>,
    notes: Option<String>,
    steps: &Steps,
) -> Result<ReleaseRecord, TargetError> {
    let running = host.find(id)?;
    let _change = running.begin().await?;
    let live = live(host, &running).await?;
    is_still(id, base, live.as_ref(), PlanOf::Rollback)?;
    let to = goal(host, &running, live.as_ref(), to).await?;
    let spec = kept_spec(host, &running, to).await?;
    deploy(host, &running, live.as_ref(), Wanted { spec, notes, rollback_of: Some(to) }, steps).await
}

/// Whether this release can be gone back to now. Returns the number of the live one.
pub(super) async fn way_back(host: &Host, running: &Running, to: u64) -> Result<Option<u64>, TargetError> {
    let live = live(host, running).await?;
    goal(host, running, live.as_ref(), Some(to)).await?;
    kept_spec(host, running, to).await?;
    Ok(live.map(|live| live.record.number))
}

/// The spec of a release whose artifact is still there.
async fn kept_spec(host: &Host, running: &Running, number: u64) -> Result<ReleaseSpec, TargetError> {
    let spec = release::stored_spec(host, running, number).await?;
    if host.keeps(running, spec.artifact.digest()) {
        return Ok(spec);
    }
    let message = format!("the artifact of release {number} is no longer kept");
    Err(TargetError::new(Problem::Refused, message).hint(format!(
        "check out its commit and send it again: flash deploy send {}",
        running.stored.id.name
    )))
}

/// The release to go back to.
async fn goal(
    host: &Host,
    running: &Running,
    live: Option<&StoredRelease>,
    to: Option<u64>,
) -> Result<u64, TargetError> {
    let key = running.stored.key;
    let releases = host.ask(move |database| database.releases(key)).await?;
    let history = format!("to list them: flash deploy history {}", running.stored.id.name);
    let live = live.map(|live| live.record.number);
    let Some(to) = to else {
        let before = live_before(releases.iter().map(|release| &release.record));
        return before.map(|before| before.number).ok_or_else(|| {
            let message = format!("{} has no earlier release to go back to", running.stored.id);
            TargetError::new(Problem::NotFound, message).hint(history)
        });
    };
    let Some(goal) = releases.iter().find(|release| release.record.number == to) else {
        return Err(TargetError::new(
            Problem::NotFound,
            format!("{} has no release {to}", running.stored.id),
        )
        .hint(format!("{}; {history}", numbers(&releases))));
    };
    if live == Some(to) {
        return Err(TargetError::new(Problem::Refused, format!("release {to} is already live")));
    }
    if let ReleaseState::Failed { reason } = &goal.record.state
        && goal.live_ms.is_none()
    {
        let message = format!("release {to} was never live: {reason}");
        return Err(TargetError::new(Problem::Refused, message).hint(history));
    }
    Ok(to)
}

/// Removes one endpoint, or all.
pub(super) async fn undeploy(
    host: &Host,
    id: &EnvironmentId,
    worker: Option<&str>,
    steps: &Steps,
) -> Result<Option<ReleaseRecord>, TargetError> {
    let running = host.find(id)?;
    let _change = running.begin().await?;
    let Some(live) = live(host, &running).await? else {
        return Err(TargetError::new(Problem::NothingLive, format!("nothing is deployed to {id}"))
            .hint(format!("deploy first: flash deploy send {}", id.name)));
    };
    let Some(worker) = worker else {
        undeploy_all(host, &running, live.record.number, steps).await?;
        return Ok(None);
    };
    let spec = release::stored_spec(host, &running, live.record.number).await?.without(worker, id)?;
    if spec.manifest.workers.is_empty() {
        let message = format!("`{worker}` is the last worker type of {id}");
        return Err(TargetError::new(Problem::Refused, message)
            .hint(format!("remove everything: flash undeploy {}", id.name)));
    }
    let wanted = Wanted { spec, notes: Some(format!("undeploy of {worker}")), rollback_of: None };
    deploy(host, &running, Some(&live), wanted, steps).await.map(Some)
}

async fn undeploy_all(
    host: &Host,
    running: &Arc<Running>,
    live: u64,
    steps: &Steps,
) -> Result<(), TargetError> {
    let key = running.stored.key;
    // First, so that a later crash does not bring it back.
    host.ask(move |database| database.set_live(key, None)).await?;
    let _ = steps.send(Step::Draining { release: live });
    if let Some(platform) = running.platform() {
        platform.undeploy().await;
    }
    running.set_trouble(None);
    Ok(())
}

async fn live(host: &Host, running: &Running) -> Result<Option<StoredRelease>, TargetError> {
    let key = running.stored.key;
    host.ask(move |database| database.live(key)).await
}

/// Starts a release beside the live one and switches traffic to it.
async fn deploy(
    host: &Host,
    running: &Arc<Running>,
    live: Option<&StoredRelease>,
    mut wanted: Wanted,
    steps: &Steps,
) -> Result<ReleaseRecord, TargetError> {
    let key = running.stored.key;
    let secrets = host.ask(move |database| database.secrets(key)).await?;
    // The current secrets, whatever the sender has seen: its workers get these.
    wanted.spec.secrets = secrets.into_iter().map(|secret| (secret.name, secret.version)).collect();
    release::check_artifact(host, running, &wanted.spec).await?;
    let platform = platform::fit(host, running, &wanted.spec.runtime).await?;
    let before = live.map(|live| live.record.number);
    platform.expect(platform::expected(before));
    // If the platform starts only now, nobody else has done this yet.
    release::resume_stored(host, running, &platform, before).await;
    let (record, spec) = host
        .ask(move |database| {
            let Wanted { spec, notes, rollback_of } = wanted;
            let row = NewRow { spec: &spec, notes: notes.as_deref(), rollback_of };
            Ok((database.add_release(key, &row)?, spec))
        })
        .await?;
    let number = record.number;
    let hides_values = spec.runtime.hides_values;
    let step = |step| {
        // A sender that has gone changes nothing.
        let _ = steps.send(step);
    };
    step(Step::Starting { release: number });
    let deployed = match release::prepare(host, running, number, &spec).await {
        Ok(new) => {
            let on_ready = |worker: &str| step(Step::Ready { worker: worker.to_owned() });
            platform.deploy(new, on_ready).await.map_err(|error| not_ready(running, number, live, error))
        }
        Err(error) => Err(error),
    };
    if let Err(error) = deployed {
        let reason = error.text();
        let failed = host.ask(move |database| database.set_failed(key, number, &reason)).await;
        if let Err(error) = failed {
            host.report.warning(&format!("{}: {}", running.stored.id, error.text()));
        }
        prune::prune(host, running).await;
        return Err(error);
    }
    running.hides_values.store(hides_values, Ordering::Relaxed);
    keep_live(host, running, number).await?;
    running.set_trouble(None);
    // Removes what the previous release left if it could not come back, and what nobody else can finish.
    release::resume_stored(host, running, &platform, Some(number)).await;
    platform.adopt_rest();
    step(Step::Live { release: number });
    if let Some(live) = live {
        step(Step::Draining { release: live.record.number });
    }
    prune::prune(host, running).await;
    Ok(ReleaseRecord { state: ReleaseState::Live, ..record })
}

/// Records that this release, which already serves, is the live one.
async fn keep_live(host: &Host, running: &Running, number: u64) -> Result<(), TargetError> {
    let key = running.stored.key;
    let mut tries = 1;
    loop {
        let Err(error) = host.ask(move |database| database.set_live(key, Some(number))).await else {
            return Ok(());
        };
        if tries < TRIES && !host.closing.is_cancelled() {
            tries += 1;
            tokio::time::sleep(BETWEEN_TRIES).await;
            continue;
        }
        let error = error.within(format!("release {number} serves, but this could not be recorded"));
        running.set_trouble(Some(error.text()));
        return Err(error);
    }
}

/// Whether the release that the sender saw live still is. `command` makes a new plan.
fn is_still(
    id: &EnvironmentId,
    base: Option<u64>,
    live: Option<&StoredRelease>,
    plan: PlanOf,
) -> Result<(), TargetError> {
    let number = live.map(|live| live.record.number);
    if number == base {
        return Ok(());
    }
    let seen = base.map_or("nothing was live".to_owned(), |base| format!("release {base} was live"));
    let now = live.map_or("nothing is".to_owned(), |live| {
        let since = live.live_ms.unwrap_or(live.record.created_ms);
        format!("release {} is, since {}", live.record.number, utc(since))
    });
    Err(TargetError::new(
        Problem::Moved,
        format!("{id} has changed: {seen} when the plan was made; now {now}"),
    )
    .hint(plan.make_again(&id.name)))
}

/// `it has 1, 2, 3`: the latest of them.
fn numbers(releases: &[StoredRelease]) -> String {
    let latest = releases.iter().take(SHOWN_NUMBERS).map(|release| release.record.number.to_string());
    let mut latest: Vec<String> = latest.collect();
    latest.reverse();
    if latest.is_empty() { "it has none".to_owned() } else { format!("it has {}", latest.join(", ")) }
}

fn not_ready(
    running: &Running,
    number: u64,
    live: Option<&StoredRelease>,
    error: DeployError,
) -> TargetError {
    let stays = match (live, running.state()) {
        (Some(live), RunState::Up { trouble: None, .. }) => {
            format!("release {} keeps serving", live.record.number)
        }
        _ => "nothing was live before".to_owned(),
    };
    let DeployError::NotReady { worker_type, reason, last_lines } = error;
    TargetError::new(Problem::NotReady, format!("release {number} did not become ready"))
        .because(format!("a worker of `{worker_type}`: {reason}"))
        .leaving(stays)
        .hint(format!("see its logs: flash logs {} --release {number}", running.stored.id.name))
        .last_lines(last_lines)
}
