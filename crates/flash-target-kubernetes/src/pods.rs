//! The cluster as the platform's supervisor uses it: makes a worker's pod, watches it until its end, and has it removed.
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use flash_platform::{Cluster, OnWait, PodEnd, PodSpec, Removal, Wait};
use futures_util::{StreamExt as _, TryStreamExt as _};
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api, Client,
    api::{DeleteParams, ListParams, PostParams, WatchEvent, WatchParams},
};

use super::{
    error::words,
    names::{Component, pod_name, selector},
    settings::PlatformSettings,
    sight::{Sight, failed_pull, look},
    worker_pod::worker_pod,
};

/// How long to wait before the cluster is asked again: it refused, or could not be reached.
const AGAIN: Duration = Duration::from_secs(2);
/// How long one watch lasts, in seconds. Events can be missed after an outage of the network, so the pod is read again after it.
const WATCH: u32 = 60;
/// How long a pod may take to be gone beyond its own time: its node may be lost, and then nobody says so.
const GONE: Duration = Duration::from_secs(30);

/// Why a pod ended that somebody else has deleted.
const DELETED: &str = "its pod was deleted";

/// Why a pod ended whose node is lost.
const LOST: &str = "its node does not say that it has ended; the cluster removes it when the node is back";

/// See the module.
#[derive(Clone)]
pub(crate) struct Pods {
    api: Api<Pod>,
    settings: PlatformSettings,
    join_key: String,
}

impl Pods {
    pub(crate) fn new(client: Client, settings: PlatformSettings, join_key: String) -> Self {
        Self { api: Api::namespaced(client, &settings.namespace), settings, join_key }
    }

    /// Removes the workers of an earlier platform, which nobody watches any more.
    ///
    /// # Errors
    /// When the cluster cannot be asked.
    pub(crate) async fn remove_all(&self) -> Result<usize, kube::Error> {
        let workers = ListParams::default().labels(&selector(&self.settings.name, Component::Worker));
        // Only what a successful list has shown is removed.
        let found = self.api.list(&workers).await?;
        let mut removed = 0;
        for pod in found {
            if let Some(name) = pod.metadata.name {
                self.delete(&name, Duration::from_secs(1)).await?;
                removed += 1;
            }
        }
        Ok(removed)
    }

    /// It is fine if it is gone already.
    async fn delete(&self, name: &str, within: Duration) -> Result<(), kube::Error> {
        // Never 0: its place, and with it its GPU, would be given away while its processes still run.
        let seconds = u32::try_from(within.as_secs()).unwrap_or(u32::MAX).max(1);
        let parameters = DeleteParams { grace_period_seconds: Some(seconds), ..DeleteParams::default() };
        match self.api.delete(name, &parameters).await {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Makes the pod. `false` if it is to be removed before that succeeded.
    async fn create(&self, spec: &PodSpec, on_wait: &OnWait, removal: &mut Removal) -> Result<bool, String> {
        let pod: Pod =
            serde_json::from_value(worker_pod(&self.settings, spec)).map_err(|error| error.to_string())?;
        loop {
            let reason = match self.api.create(&PostParams::default(), &pod).await {
                Ok(_) => return Ok(true),
                // Made by a request whose answer was lost.
                Err(kube::Error::Api(status)) if status.reason == "AlreadyExists" => return Ok(true),
                Err(kube::Error::Api(status)) if matches!(status.code, 400 | 422) => {
                    return Err(format!("the cluster refuses its pod: {}", status.message));
                }
                Err(error) => words(&error),
            };
            on_wait(Some(Wait::Other(format!("waits for the cluster: {reason}"))));
            tokio::select! {
                () = tokio::time::sleep(AGAIN) => {}
                () = asked(removal) => return Ok(false),
            }
        }
    }

    /// Follows the pod until it is over, or cannot start.
    async fn follow(&self, name: &str, on_wait: &OnWait) -> Result<PodEnd, String> {
        let mut pulled = None;
        let mut see = |pod: &Pod| {
            pulled = failed_pull(pod).or_else(|| pulled.take());
            match look(pod, pulled.as_deref()) {
                Sight::Waits(wait) => on_wait(Some(wait)),
                Sight::Fine => on_wait(None),
                Sight::Hopeless(reason) => return Some(Err(reason)),
                Sight::Ended(end) if pod.metadata.deletion_timestamp.is_some() => {
                    let reason = end.reason.or_else(|| Some(DELETED.to_owned()));
                    return Some(Ok(PodEnd { reason, ..end }));
                }
                Sight::Ended(end) => return Some(Ok(end)),
            }
            None
        };
        loop {
            match self.api.get_opt(name).await {
                Ok(None) => return Ok(taken_away()),
                Ok(Some(pod)) => {
                    if let Some(end) = see(&pod) {
                        return end;
                    }
                    if is_overdue(&pod) {
                        return Ok(PodEnd { code: None, reason: Some(LOST.to_owned()) });
                    }
                    let version = pod.metadata.resource_version.clone().unwrap_or_default();
                    if let Some(end) = self.watch(name, &version, &mut see).await {
                        return end;
                    }
                }
                // A running worker does not depend on it.
                Err(_) => tokio::time::sleep(AGAIN).await,
            }
        }
    }

    /// Watches it for a while; `None` if it goes on.
    async fn watch(
        &self,
        name: &str,
        version: &str,
        mut see: impl FnMut(&Pod) -> Option<Result<PodEnd, String>>,
    ) -> Option<Result<PodEnd, String>> {
        let only = WatchParams::default().fields(&format!("metadata.name={name}")).timeout(WATCH);
        let Ok(events) = self.api.watch(&only, version).await else {
            tokio::time::sleep(AGAIN).await;
            return None;
        };
        let mut events = events.boxed();
        loop {
            match events.try_next().await.ok()?? {
                WatchEvent::Added(pod) | WatchEvent::Modified(pod) => {
                    if let Some(end) = see(&pod) {
                        return Some(end);
                    }
                }
                WatchEvent::Deleted(pod) => return Some(see(&pod).unwrap_or_else(|| Ok(taken_away()))),
                WatchEvent::Bookmark(_) => {}
                WatchEvent::Error(_) => return None,
            }
        }
    }

    /// Has it removed, and tries until that was heard.
    async fn remove(&self, name: &str, within: Duration) {
        while self.delete(name, within).await.is_err() {
            tokio::time::sleep(AGAIN).await;
        }
    }
}

/// Whether it was deleted, and should be gone for a while.
fn is_overdue(pod: &Pod) -> bool {
    // When its time is over, as the API server counts it.
    let Some(due) = &pod.metadata.deletion_timestamp else { return false };
    let due = SystemTime::from(due.0);
    SystemTime::now().duration_since(due).is_ok_and(|late| late > GONE)
}

/// It was deleted by somebody else.
fn taken_away() -> PodEnd {
    PodEnd { code: None, reason: Some(DELETED.to_owned()) }
}

/// Waits until the pod is to be removed. Nobody waits for one whose sender is gone.
async fn asked(removal: &mut Removal) {
    let _ = removal.wait_for(Option::is_some).await;
}

#[async_trait]
impl Cluster for Pods {
    fn platform_url(&self) -> &str {
        &self.settings.url
    }

    fn join_key(&self) -> &str {
        &self.join_key
    }

    async fn run(&self, spec: PodSpec, on_wait: OnWait, mut removal: Removal) -> Result<PodEnd, String> {
        let name = pod_name(&self.settings.name, &spec.name);
        if !self.create(&spec, &on_wait, &mut removal).await? {
            // A request whose answer was lost may have made it.
            self.remove(&name, Duration::ZERO).await;
            return Ok(PodEnd::default());
        }
        let followed = self.follow(&name, &on_wait);
        tokio::pin!(followed);
        let ended = tokio::select! {
            ended = &mut followed => Some(ended),
            () = asked(&mut removal) => None,
        };
        if let Some(ended) = ended {
            self.remove(&name, Duration::ZERO).await;
            return ended;
        }
        // It may have been killed from outside, and its worker given up for that.
        let now = self.api.get_opt(&name).await.ok().flatten();
        let is_by_others = now.is_some_and(|pod| pod.metadata.deletion_timestamp.is_some());
        loop {
            let within = removal.borrow_and_update().unwrap_or_default();
            self.remove(&name, within).await;
            tokio::select! {
                ended = &mut followed => {
                    let PodEnd { code, reason } = ended.unwrap_or_default();
                    // What the platform itself has asked for is no cause.
                    let reason = reason.filter(|reason| is_by_others || reason != DELETED);
                    return Ok(PodEnd { code, reason });
                }
                // It is to go sooner than was said.
                Ok(()) = removal.changed() => {}
                () = tokio::time::sleep(within + GONE) => {
                    let reason = if is_by_others { DELETED } else { LOST };
                    return Ok(PodEnd { code: None, reason: Some(reason.to_owned()) });
                }
            }
        }
    }
}
