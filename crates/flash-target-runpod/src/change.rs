//! Deploys a release, undeploys it, removes an environment: record, endpoints, readiness, leftovers, record.
//!
//! The API does one thing at a time and may fail between any two. The order makes up for that: nothing is deleted
//! before everything new is ready, and each step is one that the next send finds done or repeats.
use std::{collections::BTreeMap, time::Duration};

use flash_target::{
    ArtifactSpec, EnvironmentId, Finding, OnStep, PlanOf, Problem, ReleaseRecord, ReleaseSpec, Step,
    TargetError, live_before, now_ms,
};
use tokio::time::{Instant, sleep};

use super::{
    desired::{Desired, asleep, desired, with_siblings},
    ledger::{self, Entry, State, StoredEntry},
    names::{OwnEndpoints, of_environment},
    reconcile::{difference, replacement},
    releases,
    rest::{
        CloudWorker, Endpoint, GpuChoice, Rest, UpdateEndpoint, UpdateTemplate, WorkerRange, WorkerState,
    },
    urls,
};

/// The interval of a sender's heartbeat: a third of the time after which it counts as dead.
const HEARTBEAT: Duration = Duration::from_secs(20);
const READY_LOOK: Duration = Duration::from_secs(1);
/// How long a worker type may have unhealthy workers and no ready one: a crashed worker is restarted.
const UNHEALTHY_LIMIT: Duration = Duration::from_secs(15);
/// How long a send with a later turn may take to give way.
const GIVE_WAY: Duration = Duration::from_secs(5);

/// Why a release is made.
pub(super) struct Intent {
    /// The release that the sender saw live: another one that is live now ends the change.
    pub base: Option<u64>,
    pub notes: Option<String>,
    pub rollback_of: Option<u64>,
}

/// A release in progress; nobody else makes one in the meantime.
struct Held {
    template: String,
    entry: Entry,
    before: Option<StoredEntry>,
}

/// What a change has done so far, for the error message and for undoing it.
#[derive(Default)]
struct Done {
    steps: Vec<String>,
    /// The changed endpoints, in their former state.
    changed: Vec<Endpoint>,
}

impl Done {
    fn summary(&self) -> String {
        match self.steps.as_slice() {
            [] => "nothing was changed at Runpod".to_owned(),
            steps => format!("done so far: {}", steps.join(", ")),
        }
    }
}

fn refused(findings: Vec<Finding>) -> TargetError {
    let lines: String =
        findings.iter().map(|Finding { message, fix }| format!("\n  {message}; {fix}")).collect();
    TargetError::new(Problem::Refused, format!("Runpod cannot provide this{lines}"))
}

/// Makes a new release. If it does not become ready, the live release keeps serving, or serves again.
pub(super) async fn bring_live(
    rest: &Rest,
    id: &EnvironmentId,
    spec: ReleaseSpec,
    intent: Intent,
    on_step: OnStep<'_>,
) -> Result<ReleaseRecord, TargetError> {
    if matches!(spec.artifact, ArtifactSpec::Binaries { .. }) {
        return Err(TargetError::new(Problem::Refused, "Runpod runs images, and this release has none")
            .hint(format!("flash deploy send {}", id.name)));
    }
    // Report impossible settings before anything is recorded.
    desired(id, &spec, 0).map_err(refused)?;
    let mut held = begin(rest, id, spec, intent).await?;
    on_step(Step::Starting { release: held.entry.number });
    let mut done = Done::default();
    // The heartbeat ends with the change: both are parts of one future.
    let result = tokio::select! {
        result = carry_out(rest, id, &held, &mut done, on_step) => result,
        error = beat(rest, id, &held) => Err(error),
    };
    if let Err(mut error) = result {
        error = error.within(format!("release {} is not live", held.entry.number)).leaving(done.summary());
        if error.problem != Problem::NotReady {
            error.hint = Some(match error.hint {
                Some(hint) => {
                    format!("{hint}; the next flash deploy send {} continues from here", id.name)
                }
                None => format!("the next flash deploy send {} continues from here", id.name),
            });
        }
        held.entry.state = State::Failed(error.text());
        if write(rest, id, &held).await.is_err() {
            error =
                error.leaving("the failure could not be recorded: the release counts as failed in a minute");
        }
        return Err(error);
    }
    held.entry.state = State::Live;
    if let Err(error) = write(rest, id, &held).await {
        let number = held.entry.number;
        return Err(error.within(format!("release {number} serves, but this could not be recorded")).hint(
            format!("in a minute, run again: flash deploy send {}; it will find everything done", id.name),
        ));
    }
    on_step(Step::Live { release: held.entry.number });
    if let Some(before) = held.before.take() {
        let entry = Entry { state: State::Replaced, ..before.entry };
        // If two releases claim to be live, the later one is, so this may be left undone.
        let _ = write(rest, id, &Held { template: before.template, entry, before: None }).await;
    }
    prune(rest, id, &held.entry).await;
    Ok(held.entry.record(now_ms()))
}

/// Writes the record and makes sure that nobody else is sending.
async fn begin(
    rest: &Rest,
    id: &EnvironmentId,
    spec: ReleaseSpec,
    intent: Intent,
) -> Result<Held, TargetError> {
    let there = releases::entries(rest, id).await?;
    let live = ledger::live(&there).map(|kept| kept.entry.number);
    let plan = if intent.rollback_of.is_some() { PlanOf::Rollback } else { PlanOf::Send };
    if intent.base != live {
        return Err(moved(id, &there, plan));
    }
    let number = there.first().map_or(1, |kept| kept.entry.number + 1);
    let entry = Entry::starting(number, spec, intent.notes, intent.rollback_of);
    let before = ledger::live(&there).cloned();
    if let Some(other) = ledger::concurrent_send(&there, &entry, now_ms()) {
        return Err(busy(other.entry));
    }
    let template = rest.create_template(&entry.template(id)?).await?.id;
    let alone = alone(rest, id, &entry).await;
    let gone_on = alone.and_then(|there| {
        // Another send may have ended between the looks.
        let is_moved = ledger::live(&there).map(|kept| kept.entry.number) != live;
        if is_moved { Err(moved(id, &there, plan)) } else { Ok(()) }
    });
    match gone_on {
        Ok(()) => Ok(Held { template, entry, before }),
        Err(error) => {
            // A record that is left counts as dead in a minute.
            let _ = rest.delete_template(&template).await;
            Err(error)
        }
    }
}

/// Waits until no other send is running. Both write their records before they look, so at least one of two sees
/// the other. The one with the later turn gives way at once. The other waits for that: if it does not happen,
/// the later one had looked, and gone on, before there was anything to see.
async fn alone(rest: &Rest, id: &EnvironmentId, own: &Entry) -> Result<Vec<StoredEntry>, TargetError> {
    let until = Instant::now() + GIVE_WAY;
    loop {
        let there = releases::entries(rest, id).await?;
        match ledger::concurrent_send(&there, own, now_ms()) {
            None => return Ok(there),
            Some(other) if other.is_first || Instant::now() >= until => return Err(busy(other.entry)),
            Some(_) => sleep(READY_LOOK).await,
        }
    }
}

async fn carry_out(
    rest: &Rest,
    id: &EnvironmentId,
    held: &Held,
    done: &mut Done,
    on_step: OnStep<'_>,
) -> Result<(), TargetError> {
    let wanted = desired(id, &held.entry.spec, held.entry.number).map_err(refused)?;
    apply(rest, id, &wanted, done).await?;
    if let Err(error) = ready(rest, id, &wanted, on_step).await {
        if error.problem != Problem::NotReady {
            return Err(error);
        }
        let stays = match (put_back(rest, done).await, &held.before) {
            (Ok(()), Some(before)) => format!("release {} is live as before", before.entry.number),
            // Endpoints made for it sleep again, so that workers that were never ready cost nothing.
            (Ok(()), None) => "nothing was live before".to_owned(),
            (Err(failed), _) => format!("the rollback failed too: {}", failed.text()),
        };
        return Err(error.leaving(stays));
    }
    let ours = ours(rest, id).await?;
    for (worker, endpoint) in ours.by_worker.iter().filter(|(worker, _)| !wanted.contains_key(*worker)) {
        rest.delete_endpoint(&endpoint.id).await?;
        done.steps.push(format!("{worker} deleted"));
    }
    Ok(())
}

async fn ours(rest: &Rest, id: &EnvironmentId) -> Result<OwnEndpoints, TargetError> {
    Ok(of_environment(id, &rest.endpoints().await?))
}

/// Makes what is missing, asleep; then changes what differs, now that all addresses are known.
async fn apply(
    rest: &Rest,
    id: &EnvironmentId,
    wanted: &BTreeMap<String, Desired>,
    done: &mut Done,
) -> Result<(), TargetError> {
    let mut ours = ours(rest, id).await?.by_worker;
    for (worker, want) in wanted {
        if let Some(why) = ours.get(worker).and_then(|there| replacement(there, want)) {
            return Err(TargetError::new(
                Problem::Refused,
                format!("`{worker}` changes {why}, which Runpod does not support for existing endpoints"),
            )
            .hint(format!("remove it first: flash undeploy {} --worker {worker}", id.name)));
        }
    }
    for (worker, want) in wanted {
        if !ours.contains_key(worker) {
            let made = rest.create_endpoint(&asleep(want)).await?;
            done.steps.push(format!("{worker} made"));
            ours.insert(worker.clone(), made);
        }
    }
    ours.retain(|worker, _| wanted.contains_key(worker));
    let urls = urls::by_worker(rest, &ours);
    for (worker, want) in wanted {
        let Some(there) = ours.get(worker) else { continue };
        if let Some(change) = difference(there, &with_siblings(want, &urls)) {
            rest.update_endpoint(&there.id, &change).await?;
            done.steps.push(format!("{worker} changed"));
            done.changed.push(there.clone());
        }
    }
    Ok(())
}

/// Restores changed endpoints. One that was made for this release sleeps again.
async fn put_back(rest: &Rest, done: &mut Done) -> Result<(), TargetError> {
    for there in done.changed.drain(..) {
        rest.update_endpoint(&there.id, &as_it_was(&there)).await?;
        done.steps.push(format!("{} restored", there.name));
    }
    Ok(())
}

async fn ready(
    rest: &Rest,
    id: &EnvironmentId,
    wanted: &BTreeMap<String, Desired>,
    on_step: OnStep<'_>,
) -> Result<(), TargetError> {
    let since = Instant::now();
    let ours = ours(rest, id).await?;
    for (worker, want) in wanted {
        let Some(there) = ours.by_worker.get(worker) else { continue };
        // Without a minimum, a worker starts with the first request and costs nothing until then.
        let is_on_call = want.create.workers.min.unwrap_or(0) == 0;
        if !is_on_call {
            let wait = Wait { since, limit: want.start_timeout };
            has_ready_worker(rest, worker, there, &wait).await.map_err(|error| match error.problem {
                Problem::NotReady => {
                    error.hint(format!("see its workers' logs: flash logs {} --worker {worker}", id.name))
                }
                _ => error,
            })?;
        }
        rest.health(&urls::health(rest, there)).await?;
        let worker = worker.clone();
        on_step(if is_on_call { Step::OnCall { worker } } else { Step::Ready { worker } });
    }
    Ok(())
}

/// How long workers may take to become ready.
struct Wait {
    since: Instant,
    limit: Duration,
}

impl Wait {
    fn is_over(&self) -> bool {
        self.since.elapsed() >= self.limit
    }
}

/// Waits for a ready worker of the release.
async fn has_ready_worker(
    rest: &Rest,
    name: &str,
    endpoint: &Endpoint,
    wait: &Wait,
) -> Result<(), TargetError> {
    let mut unhealthy_since = None;
    loop {
        let there = rest.workers(&endpoint.id).await?;
        let readiness = Readiness::of(&there.workers);
        let message = match readiness {
            Readiness::Ready => return Ok(()),
            Readiness::Unhealthy(worker) => {
                let since: Instant = *unhealthy_since.get_or_insert_with(Instant::now);
                (since.elapsed() >= UNHEALTHY_LIMIT || wait.is_over()).then(|| {
                    format!(
                        "worker {worker} of `{name}` is unhealthy: it crashed, or its image cannot be started"
                    )
                })
            }
            Readiness::Starting { throttled } => wait.is_over().then(|| {
                let seconds = wait.limit.as_secs();
                let why = match throttled {
                    0 => String::new(),
                    throttled => {
                        format!(": {throttled} are waiting for a machine, and none is available")
                    }
                };
                format!("no worker of `{name}` became ready within {seconds} s, its `start_timeout`{why}")
            }),
        };
        if let Some(message) = message {
            return Err(TargetError::new(Problem::NotReady, message));
        }
        sleep(READY_LOOK).await;
    }
}

/// Sends the heartbeat; returns only if that failed for so long that another sender may begin.
async fn beat(rest: &Rest, id: &EnvironmentId, held: &Held) -> TargetError {
    let mut heard = Instant::now();
    loop {
        sleep(HEARTBEAT).await;
        let entry = Entry { heartbeat_ms: now_ms(), ..held.entry.clone() };
        let beating = Held { template: held.template.clone(), entry, before: None };
        match write(rest, id, &beating).await {
            Ok(()) => heard = Instant::now(),
            Err(error) if heard.elapsed() + HEARTBEAT >= ledger::STALE => return error,
            Err(_) => {}
        }
    }
}

async fn write(rest: &Rest, id: &EnvironmentId, held: &Held) -> Result<(), TargetError> {
    let env = Some(held.entry.variables(id)?);
    rest.update_template(&held.template, &UpdateTemplate { env, name: None }).await?;
    Ok(())
}

/// Deletes releases beyond those that are kept. What fails here is done by the next send.
async fn prune(rest: &Rest, id: &EnvironmentId, live: &Entry) {
    let Ok(entries) = releases::entries(rest, id).await else { return };
    let kept = usize::try_from(live.spec.runtime.keep_releases).unwrap_or(usize::MAX);
    let old = entries.iter().filter(|kept| kept.entry.number != live.number).skip(kept);
    for release in old {
        if rest.delete_template(&release.template).await.is_err() {
            return;
        }
    }
}

/// Makes a new release from an earlier one.
pub(super) async fn go_back(
    rest: &Rest,
    id: &EnvironmentId,
    base: Option<u64>,
    to: Option<u64>,
    on_step: OnStep<'_>,
) -> Result<ReleaseRecord, TargetError> {
    let entries = releases::entries(rest, id).await?;
    let history: Vec<ReleaseRecord> = entries.iter().map(|kept| kept.entry.record(now_ms())).collect();
    let number = match to {
        Some(number) => number,
        None => {
            let before = live_before(&history).map(|record| record.number);
            before.ok_or_else(|| {
                TargetError::new(Problem::Refused, format!("{id} has no earlier release to go back to"))
                    .hint(format!("flash deploy history {}", id.name))
            })?
        }
    };
    let spec = releases::spec(rest, id, Some(number)).await?;
    let intent = Intent { base, notes: None, rollback_of: Some(number) };
    bring_live(rest, id, spec, intent, on_step).await
}

/// Removes one endpoint, or all.
pub(super) async fn take_out(
    rest: &Rest,
    id: &EnvironmentId,
    worker: Option<&str>,
    on_step: OnStep<'_>,
) -> Result<Option<ReleaseRecord>, TargetError> {
    let entries = releases::entries(rest, id).await?;
    let live = ledger::live(&entries).cloned();
    let live = live.ok_or_else(|| {
        TargetError::new(Problem::NothingLive, format!("nothing is live in {id}"))
            .hint(format!("flash deploy send {}", id.name))
    })?;
    if let Some(worker) = worker {
        let spec = live.entry.spec.clone().without(worker, id)?;
        if !spec.manifest.workers.is_empty() {
            let intent = Intent { base: Some(live.entry.number), notes: None, rollback_of: None };
            return bring_live(rest, id, spec, intent, on_step).await.map(Some);
        }
    }
    if let Some(other) = entries.iter().find(|kept| kept.entry.is_under_way(now_ms())) {
        return Err(busy(&other.entry));
    }
    delete_endpoints(rest, id).await?;
    let entry = Entry { state: State::Replaced, ..live.entry };
    write(rest, id, &Held { template: live.template, entry, before: None }).await?;
    Ok(None)
}

/// The environment's endpoints, including duplicates.
async fn delete_endpoints(rest: &Rest, id: &EnvironmentId) -> Result<(), TargetError> {
    let ours = ours(rest, id).await?;
    for endpoint in ours.by_worker.values().chain(&ours.duplicates) {
        rest.delete_endpoint(&endpoint.id).await?;
    }
    Ok(())
}

/// Removes all endpoints and all records.
pub(super) async fn remove_all(rest: &Rest, id: &EnvironmentId) -> Result<(), TargetError> {
    let entries = releases::entries(rest, id).await?;
    let under_way = entries.iter().find(|kept| kept.entry.is_under_way(now_ms()));
    if let Some(other) = under_way {
        return Err(busy(&other.entry));
    }
    delete_endpoints(rest, id).await?;
    // The records last: as long as one exists, the removal can be repeated.
    for kept in &entries {
        rest.delete_template(&kept.template).await?;
    }
    Ok(())
}

/// The environment is no longer as the sender saw it.
fn moved(id: &EnvironmentId, there: &[StoredEntry], plan: PlanOf) -> TargetError {
    let live = ledger::live(there).map(|kept| kept.entry.number);
    let now = live.map_or("nothing is".to_owned(), |number| format!("release {number} is"));
    TargetError::new(
        Problem::Moved,
        format!("{id} has changed since the plan was made: now {now} live; nothing was changed"),
    )
    .hint(plan.make_again(&id.name))
}

/// The progress of a release's workers.
enum Readiness {
    Ready,
    /// The worker with this ID.
    Unhealthy(String),
    /// This many have no machine.
    Starting {
        throttled: usize,
    },
}

impl Readiness {
    fn of(workers: &[CloudWorker]) -> Self {
        // Workers of the previous release continue until they are replaced.
        let current = || workers.iter().filter(|worker| !worker.is_stale);
        if current().any(|worker| matches!(worker.status, WorkerState::Running | WorkerState::Idle)) {
            return Self::Ready;
        }
        match current().find(|worker| worker.status == WorkerState::Unhealthy) {
            Some(worker) => Self::Unhealthy(worker.id.clone()),
            None => Self::Starting {
                throttled: current().filter(|worker| worker.status == WorkerState::Throttled).count(),
            },
        }
    }
}

/// Another sender is active.
fn busy(other: &Entry) -> TargetError {
    let since = now_ms().saturating_sub(other.created_ms) / 1000;
    let silent = now_ms().saturating_sub(other.heartbeat_ms) / 1000;
    let left = ledger::STALE.as_secs().saturating_sub(silent).max(1);
    TargetError::new(
        Problem::Moved,
        format!("release {} is already being sent (for {since} s); nothing was changed", other.number),
    )
    .hint(format!("wait until it ends; if its sender was killed, try again in {left} s"))
}

/// All settings of an endpoint that can be changed, as they are.
fn as_it_was(there: &Endpoint) -> UpdateEndpoint {
    let has_idle_time = there.workers.idle_timeout;
    UpdateEndpoint {
        name: None,
        image: there.image.clone(),
        args: there.args.clone(),
        disk: there.disk,
        env: there.env.clone(),
        ports: there.ports.clone(),
        registry: Some(there.registry.clone()),
        gpu: there.gpu.clone().map(|gpu| GpuChoice {
            // An empty list clears the setting.
            excluded_types: gpu.excluded_types.filter(|types| !types.is_empty()),
            min_cuda_version: None,
            allowed_cuda_versions: None,
            ..gpu
        }),
        cpu: there.cpu.clone(),
        workers: Some(WorkerRange { idle_timeout: has_idle_time, ..there.workers }),
        scaling: Some(there.scaling),
        data_center_ids: Some(there.data_center_ids.clone()),
        network_volumes: Some(there.network_volumes.clone()),
        timeout: Some(there.timeout),
        flashboot: Some(there.flashboot),
    }
}
