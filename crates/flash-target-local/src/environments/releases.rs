//! The releases of an environment, for its dashboard: what each changed, and the way back, which is that of the command.
use std::{
    collections::BTreeMap,
    sync::{Arc, Weak},
    time::Duration,
};

use async_trait::async_trait;
use flash_plan::{Line, Plan};
use flash_platform::{ChangeLine, ReleaseHistory, Rollback, ShownChanges, ShownRelease, ShownState, WayBack};
use flash_target::{EnvironmentId, ManualScale, ReleaseRecord, ReleaseSpec, ReleaseState, TargetError};
use parking_lot::Mutex;

use super::{change, host::Host, release, scales, view};

/// Releases that are shown, the latest.
const SHOWN: usize = 50;
/// Lines of a plan that are shown.
const LINES: usize = 200;
/// How long the browser waits until a rollback has begun, or was refused.
const BEGINS: Duration = Duration::from_secs(5);
/// Plans that are remembered: releases never change, and each page that is open asks every other second.
const REMEMBERED: usize = 4 * SHOWN;

/// From which release to which.
type Way = (Option<u64>, u64);

/// See the module.
pub(super) struct ReleasesOf {
    /// Weak: it owns the platform that has this.
    host: Weak<Host>,
    id: EnvironmentId,
    plans: Mutex<BTreeMap<Way, ShownChanges>>,
}

impl ReleasesOf {
    /// Nothing is read yet.
    pub(super) fn new(host: Weak<Host>, id: EnvironmentId) -> Self {
        Self { host, id, plans: Mutex::default() }
    }

    fn host(&self) -> Result<Arc<Host>, String> {
        self.host.upgrade().ok_or_else(|| "the service is stopping".to_owned())
    }

    /// The plan from one release to another.
    async fn plan(&self, host: &Host, (from, to): Way) -> Result<ShownChanges, TargetError> {
        if let Some(known) = self.plans.lock().get(&(from, to)) {
            return Ok(known.clone());
        }
        let running = host.find(&self.id)?;
        let before: Option<ReleaseSpec> = match from {
            Some(number) => Some(release::stored_spec(host, &running, number).await?),
            None => None,
        };
        let next = release::stored_spec(host, &running, to).await?;
        let plan = shown_changes(&Plan::between(before.as_ref(), &next));
        let mut plans = self.plans.lock();
        if plans.len() >= REMEMBERED {
            plans.clear();
        }
        plans.insert((from, to), plan.clone());
        Ok(plan)
    }
}

#[async_trait]
impl ReleaseHistory for ReleasesOf {
    async fn latest(&self) -> Result<Vec<ShownRelease>, String> {
        let host = self.host()?;
        let history = view::history(&host, &self.id).await.map_err(said)?;
        let mut shown = Vec::new();
        for (at, record) in history.iter().enumerate().take(SHOWN) {
            let before = history[at + 1..].iter().find(|earlier| had_traffic(earlier));
            let before = before.map(|earlier| earlier.number);
            let plan = self.plan(&host, (before, record.number)).await;
            shown.push(shown_release(record, plan.ok().map(|plan| (before, plan))));
        }
        Ok(shown)
    }

    async fn way_back(&self, to: u64) -> Result<WayBack, String> {
        let host = self.host()?;
        let running = host.find(&self.id).map_err(said)?;
        let base = change::way_back(&host, &running, to).await.map_err(said)?;
        let changes = self.plan(&host, (base, to)).await.map_err(said)?;
        let scales = scales::list(&host, &self.id).await.map_err(said)?;
        Ok(WayBack { to, base, changes, taken_back: scales.iter().map(taken_back).collect() })
    }

    async fn roll_back(&self, wanted: Rollback) -> Result<(), String> {
        let Rollback { to, base, allow_breaking } = wanted;
        let host = self.host()?;
        let plan = self.plan(&host, (base, to)).await.map_err(said)?;
        if !plan.breaking.is_empty() && !allow_breaking {
            return Err(format!(
                "this would break callers: {}; nothing was changed",
                plan.breaking.join("; ")
            ));
        }
        let id = self.id.clone();
        let (steps, mut begun) = tokio::sync::mpsc::unbounded_channel();
        // It goes on without the browser, and without this platform, which it may replace.
        let work = tokio::spawn(async move {
            let notes = Some("from the dashboard".to_owned());
            change::rollback(&host, &id, base, Some(to), notes, &steps).await
        });
        match tokio::time::timeout(BEGINS, begun.recv()).await {
            Ok(Some(_)) | Err(_) => Ok(()),
            Ok(None) => match work.await {
                Ok(done) => done.map(drop).map_err(said),
                Err(_) => Err("the service failed during the rollback".to_owned()),
            },
        }
    }
}

/// An error with what to do next.
fn said(error: TargetError) -> String {
    let text = error.text();
    match &error.hint {
        Some(hint) => format!("{text}; {hint}"),
        None => text,
    }
}

/// Whether it was live at some time.
fn had_traffic(record: &ReleaseRecord) -> bool {
    matches!(record.state, ReleaseState::Live | ReleaseState::Replaced)
}

fn shown_release(record: &ReleaseRecord, changes: Option<(Option<u64>, ShownChanges)>) -> ShownRelease {
    let state = match &record.state {
        ReleaseState::Starting => ShownState::Starting,
        ReleaseState::Live => ShownState::Live,
        ReleaseState::Replaced if record.kept => ShownState::Replaced,
        ReleaseState::Replaced => ShownState::NotKept,
        ReleaseState::Failed { .. } => ShownState::Failed,
    };
    let reason = match &record.state {
        ReleaseState::Failed { reason } => Some(reason.clone()),
        _ => None,
    };
    let back = record.rollback_of.map(|number| format!("Rollback to release {number}"));
    ShownRelease {
        number: record.number,
        created_ms: record.created_ms,
        state,
        commit: record.origin.commit.clone(),
        digest: record.digest.strip_prefix("sha256:").unwrap_or(&record.digest).to_owned(),
        notes: [back, record.notes.clone(), reason].into_iter().flatten().collect(),
        can_return: state == ShownState::Replaced,
        changes,
    }
}

fn shown_changes(plan: &Plan) -> ShownChanges {
    let lines = plan.lines();
    let left_out = lines.len().saturating_sub(LINES);
    let line = |Line { mark, text }: Line| ChangeLine { sign: mark.sign(), text };
    ShownChanges {
        items: plan.changes.len(),
        left_out,
        lines: lines.into_iter().take(LINES).map(line).collect(),
        breaking: plan.breaking(),
        cost_before: plan.cost_before.as_ref().map(|cost| cost.text()),
        cost_after: plan.cost_after.text(),
    }
}

fn taken_back(scale: &ManualScale) -> String {
    format!("{} is scaled by hand to {}..={} workers", scale.worker, scale.workers_min, scale.workers_max)
}

#[cfg(test)]
mod tests {
    use flash_target::{BuildOrigin, Problem};

    use super::*;

    fn record(state: ReleaseState) -> ReleaseRecord {
        ReleaseRecord {
            number: 3,
            created_ms: 7,
            state,
            digest: "sha256:abc".to_owned(),
            origin: BuildOrigin::default(),
            notes: Some("own words".to_owned()),
            rollback_of: None,
            kept: true,
        }
    }

    #[test]
    fn only_what_was_replaced_and_is_kept_may_return() {
        let failed = || ReleaseState::Failed { reason: "no GPU".to_owned() };
        let gone = ReleaseRecord { kept: false, ..record(ReleaseState::Replaced) };
        let cases = [
            (record(ReleaseState::Starting), ShownState::Starting, false, false),
            (record(ReleaseState::Live), ShownState::Live, false, true),
            (record(ReleaseState::Replaced), ShownState::Replaced, true, true),
            (gone, ShownState::NotKept, false, true),
            (record(failed()), ShownState::Failed, false, false),
        ];
        for (record, state, can_return, was_live) in cases {
            let shown = shown_release(&record, None);
            assert_eq!((shown.state, shown.can_return), (state, can_return), "{record:?}");
            assert_eq!(had_traffic(&record), was_live, "{record:?}");
            assert_eq!(shown.digest, "abc");
        }
        let back = ReleaseRecord { rollback_of: Some(1), ..record(failed()) };
        assert_eq!(shown_release(&back, None).notes, ["Rollback to release 1", "own words", "no GPU"]);
    }

    #[test]
    fn an_error_ends_with_what_to_do() {
        let hinted = TargetError::new(Problem::Refused, "the plan is out of date").hint("look at it again");
        assert_eq!(said(hinted), "the plan is out of date; look at it again");
    }
}
