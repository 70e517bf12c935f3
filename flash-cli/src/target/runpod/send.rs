//! Brings a release live: record, endpoints, readiness, what is left over, record.
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use tokio::time::{Instant, sleep};

use super::{
    RunpodTarget,
    desired::{Desired, asleep, desired, with_siblings},
    ledger::{self, Entry, Kept, State, now_ms},
    names::{Ours, of_environment},
    reconcile::{base_url, difference, replacement},
    rest::{Endpoint, UpdateTemplate},
};
use crate::target::{EnvironmentId, Problem, ReleaseRecord, ReleaseSpec, Step, TargetError, Told};

/// Between two signs of life of a sender.
const HEARTBEAT: Duration = Duration::from_secs(20);
/// How long workers may take to be ready: images are pulled meanwhile.
const READY_LIMIT: Duration = Duration::from_secs(15 * 60);
const READY_LOOK: Duration = Duration::from_secs(3);

/// A release to be made.
pub(super) struct Wanted {
    pub spec: ReleaseSpec,
    pub notes: Option<String>,
    pub rollback_of: Option<u64>,
}

/// A send that holds the environment.
struct Held {
    template: String,
    entry: Entry,
    before: Option<Kept>,
}

impl RunpodTarget {
    /// Makes a new release. What was live keeps serving, or serves again, when it does not become ready.
    pub(super) async fn release(
        &self,
        id: &EnvironmentId,
        base: Option<Option<u64>>,
        wanted: Wanted,
        told: Told<'_>,
    ) -> Result<ReleaseRecord, TargetError> {
        let mut held = self.begin(id, base, wanted).await?;
        told(Step::Starting { release: held.entry.number });
        // The heartbeat ends with the send: both are parts of one future.
        let result = tokio::select! {
            result = self.carry_out(id, &held, told) => result,
            error = self.beat(id, &held) => Err(error),
        };
        if let Err(mut error) = result {
            held.entry.state = State::Failed(error.message.clone());
            if self.write(id, &held.template, &held.entry).await.is_err() {
                error.message += "; that it failed could not be written down: it counts as failed in a minute";
            }
            return Err(error);
        }
        held.entry.state = State::Live;
        self.write(id, &held.template, &held.entry).await?;
        if let Some(before) = &held.before {
            let replaced = Entry { state: State::Replaced, ..before.entry.clone() };
            // Of two that say they are live the later one is: this may be left undone.
            let _ = self.write(id, &before.template, &replaced).await;
        }
        told(Step::Live { release: held.entry.number });
        self.prune(id, &held.entry).await;
        Ok(held.entry.record(now_ms()))
    }

    /// Writes the record and sees that nobody else sends.
    async fn begin(
        &self,
        id: &EnvironmentId,
        base: Option<Option<u64>>,
        wanted: Wanted,
    ) -> Result<Held, TargetError> {
        let there = self.entries(id).await?;
        let live = ledger::live(&there).map(|kept| kept.entry.number);
        if base.is_some_and(|base| base != live) {
            let now = live.map_or("nothing is".to_owned(), |number| format!("release {number} is"));
            return Err(TargetError::new(
                Problem::Moved,
                format!("{id} has moved since the plan was made: now {now} live"),
            )
            .hint(format!("look at the plan again: flash deploy send {} --plan", id.name)));
        }
        let number = there.first().map_or(1, |kept| kept.entry.number + 1);
        let entry = Entry::starting(number, wanted.spec, wanted.notes, wanted.rollback_of);
        let new = entry.template(id).map_err(damaged)?;
        let template = self.rest.create_template(&new).await?.id;
        let there = self.entries(id).await?;
        if let Some(other) = ledger::goes_first(&there, &entry, now_ms()) {
            let since = now_ms().saturating_sub(other.created_ms) / 1000;
            let message = format!("release {} is being sent at this moment (since {since} s)", other.number);
            self.rest.delete_template(&template).await?;
            return Err(TargetError::new(Problem::Moved, message).hint("wait for it, then send again"));
        }
        Ok(Held { template, entry, before: ledger::live(&there).cloned() })
    }

    async fn carry_out(&self, id: &EnvironmentId, held: &Held, told: Told<'_>) -> Result<(), TargetError> {
        let wanted = desired(id, &held.entry.spec, held.entry.number).map_err(refused)?;
        let changed = self.apply(id, &wanted).await?;
        if let Err(error) = self.ready(id, &wanted, told).await {
            let back = match &held.before {
                Some(before) => self.go_back(id, before, &changed).await,
                None => Ok("nothing was live before".to_owned()),
            };
            let stays = back.unwrap_or_else(|failed| format!("going back failed too: {}", failed.message));
            return Err(TargetError {
                problem: Problem::NotReady,
                message: format!("release {} did not become ready: {}; {stays}", held.entry.number, error.message),
                ..error
            });
        }
        let ours = self.ours(id).await?;
        for (_, endpoint) in ours.by_worker.iter().filter(|(worker, _)| !wanted.contains_key(*worker)) {
            self.put_out(endpoint).await?;
        }
        Ok(())
    }

    /// Creates what is missing, asleep; then changes what differs. Says which it has changed.
    pub(super) async fn apply(
        &self,
        id: &EnvironmentId,
        wanted: &BTreeMap<String, Desired>,
    ) -> Result<BTreeSet<String>, TargetError> {
        let mut ours: Ours = self.ours(id).await?;
        for (worker, want) in wanted {
            match ours.by_worker.get(worker) {
                Some(there) => {
                    if let Some(why) = replacement(there, want) {
                        return Err(TargetError::new(
                            Problem::Refused,
                            format!("`{worker}` changes {why}, which Runpod does for no endpoint that is there"),
                        )
                        .hint(format!("take it out first: flash undeploy {} {worker}", id.name)));
                    }
                }
                None => {
                    let made = self.rest.create_endpoint(&asleep(want)).await?;
                    ours.by_worker.insert(worker.clone(), made);
                }
            }
        }
        let queue = &self.rest.addresses().queue;
        let url = |(worker, there): (&String, &Endpoint)| (worker.clone(), base_url(there, queue));
        let is_wanted = |(worker, _): &(&String, &Endpoint)| wanted.contains_key(*worker);
        let urls: BTreeMap<_, _> = ours.by_worker.iter().filter(is_wanted).map(url).collect();
        let mut changed = BTreeSet::new();
        for (worker, want) in wanted {
            let Some(there) = ours.by_worker.get(worker) else { continue };
            if let Some(change) = difference(there, &with_siblings(want, &urls)) {
                self.rest.update_endpoint(&there.id, &change).await?;
                changed.insert(worker.clone());
            }
        }
        Ok(changed)
    }

    async fn ready(&self, id: &EnvironmentId, wanted: &BTreeMap<String, Desired>, told: Told<'_>) -> Result<(), TargetError> {
        let until = Instant::now() + READY_LIMIT;
        let ours = self.ours(id).await?;
        for (worker, want) in wanted {
            let Some(there) = ours.by_worker.get(worker) else { continue };
            while want.create.workers.min.unwrap_or(0) > 0 && !self.has_ready_worker(there).await? {
                if Instant::now() >= until {
                    let message = format!("no worker of `{worker}` was ready within 15 minutes");
                    return Err(TargetError::new(Problem::NotReady, message));
                }
                sleep(READY_LOOK).await;
            }
            self.health_of(there).await?;
            told(Step::Ready { worker: worker.clone() });
        }
        Ok(())
    }

    async fn go_back(&self, id: &EnvironmentId, before: &Kept, changed: &BTreeSet<String>) -> Result<String, TargetError> {
        let mut wanted = desired(id, &before.entry.spec, before.entry.number).map_err(refused)?;
        wanted.retain(|worker, _| changed.contains(worker));
        self.apply(id, &wanted).await?;
        Ok(format!("release {} is live as before", before.entry.number))
    }

    /// Says every so often that we live; returns only when that cannot be said.
    async fn beat(&self, id: &EnvironmentId, held: &Held) -> TargetError {
        loop {
            sleep(HEARTBEAT).await;
            let entry = Entry { heartbeat_ms: now_ms(), ..held.entry.clone() };
            if let Err(error) = self.write(id, &held.template, &entry).await {
                return error;
            }
        }
    }

    async fn write(&self, id: &EnvironmentId, template: &str, entry: &Entry) -> Result<(), TargetError> {
        let env = entry.variables(id).map_err(damaged)?;
        let change = UpdateTemplate { env: Some(env), ..UpdateTemplate::default() };
        self.rest.update_template(template, &change).await?;
        Ok(())
    }
}
