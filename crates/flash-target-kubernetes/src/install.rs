//! Puts an environment's objects in place, and waits until its platform runs.
use std::time::Duration;

use flash_target::{EnvironmentId, Problem, Target as _, TargetError};
use k8s_openapi::api::{
    apps::v1::StatefulSet,
    core::v1::{Event, Namespace, Pod, Service},
};
use kube::{
    Api,
    api::{
        ApiResource, DeleteParams, DynamicObject, GroupVersionKind, ListParams, LogParams, Patch,
        PatchParams, PostParams,
    },
};
use serde_json::{Value, json};
use tokio::time::Instant;
use uuid::Uuid;

use super::{
    error::failed,
    names::name_of,
    objects::Wanted,
    sight::{Sight, failed_pull, look},
    target::{KubernetesTarget, LOOK},
};

/// Who has set the fields of an object.
const MANAGER: &str = "flash";
/// The label of a StatefulSet's pod with the version of its description.
const REVISION: &str = "controller-revision-hash";
/// How long the platform may take to run: its image is pulled, and its volume made.
const PLATFORM_START: Duration = Duration::from_secs(300);
/// How long the cluster may refuse to make the platform's pod: what it lacks may have been made a moment ago.
const REFUSED: Duration = Duration::from_secs(8);
/// How many lines of a platform that does not start are shown.
const LAST_LINES: i64 = 5;

impl KubernetesTarget {
    /// Applies an object, and returns it as the cluster has it.
    async fn apply(&self, object: &Value) -> Result<DynamicObject, TargetError> {
        let text = |key: &str| object[key].as_str().unwrap_or_default();
        let kind = text("kind");
        let name = object["metadata"]["name"].as_str().unwrap_or_default();
        let api = self.objects(text("apiVersion"), kind);
        let ours = PatchParams::apply(MANAGER).force();
        api.patch(name, &ours, &Patch::Apply(object)).await.map_err(|error| {
            failed(&format!("cannot apply {kind} `{name}` in namespace `{}`", self.namespace), &error)
        })
    }

    /// Makes the namespace if it is missing.
    pub(super) async fn ensure_namespace(&self) -> Result<(), TargetError> {
        let api: Api<Namespace> = Api::all(self.client.clone());
        match api.get_opt(&self.namespace).await {
            Ok(Some(_)) => return Ok(()),
            // Whoever may not read namespaces has been given one.
            Err(kube::Error::Api(status)) if status.code == 403 => return Ok(()),
            Err(error) => return Err(failed("cannot ask the cluster", &error)),
            Ok(None) => {}
        }
        let object = json!({
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": { "name": self.namespace, "labels": { "app.kubernetes.io/managed-by": "flash" } },
        });
        let object: Namespace = serde_json::from_value(object)
            .map_err(|error| TargetError::new(Problem::Failed, "no namespace").because(error))?;
        match api.create(&PostParams::default(), &object).await {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(()),
            Err(error) => Err(failed(&format!("cannot make namespace `{}`", self.namespace), &error)),
        }
    }

    /// Applies all objects of an environment, with the platform last.
    pub(super) async fn apply_all(&self, id: &EnvironmentId, image: &str) -> Result<(), TargetError> {
        let name = name_of(id);
        let wanted = Wanted { id, name: &name, namespace: &self.namespace, settings: &self.settings };
        // As the cluster has it: an owner with a wrong identity would have all others deleted at once.
        let root = self.apply(&wanted.root()).await?.metadata.uid.unwrap_or_default();
        self.ensure_secret(&wanted, &root).await?;
        let service = self.apply(&wanted.service(&root)).await?;
        for object in wanted.surroundings(&root) {
            self.apply(&object).await?;
        }
        let address = service.data["spec"]["clusterIP"].as_str().unwrap_or_default().to_owned();
        self.apply(&wanted.platform(&root, image, &address)).await?;
        for (version, kind) in wanted.superfluous() {
            // It was made with other settings. Whoever may not delete it has not made it.
            let _ = self.objects(version, kind).delete(&name, &DeleteParams::background()).await;
        }
        Ok(())
    }

    /// Makes the secret if it is missing.
    async fn ensure_secret(&self, wanted: &Wanted<'_>, root: &str) -> Result<(), TargetError> {
        let key = [Uuid::new_v4(), Uuid::new_v4()].map(|half| half.simple().to_string()).concat();
        let object = wanted.secret(root, &key);
        let object: DynamicObject = serde_json::from_value(object)
            .map_err(|error| TargetError::new(Problem::Failed, "no secret").because(error))?;
        match self.objects("v1", "Secret").create(&PostParams::default(), &object).await {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(status)) if status.reason == "AlreadyExists" => Ok(()),
            Err(error) => Err(failed(&format!("cannot make secret `{}`", wanted.name), &error)),
        }
    }

    /// Objects of a kind in the namespace.
    fn objects(&self, version: &str, kind: &str) -> Api<DynamicObject> {
        let (group, version) = version.split_once('/').unwrap_or(("", version));
        let kind = GroupVersionKind::gvk(group, version, kind);
        Api::namespaced_with(self.client.clone(), &self.namespace, &ApiResource::from_gvk(&kind))
    }

    /// Waits until the pod of the old version is gone.
    pub(super) async fn until_updated(&self, id: &EnvironmentId) -> Result<(), TargetError> {
        let name = &name_of(id);
        let mut pulled = None;
        let sets: Api<StatefulSet> = Api::namespaced(self.client.clone(), &self.namespace);
        let until = Instant::now() + PLATFORM_START;
        loop {
            let set = sets.get(name).await.map_err(|error| failed("cannot ask the cluster", &error))?;
            let status = set.status.unwrap_or_default();
            let is_seen = status.observed_generation >= set.metadata.generation;
            let pod = self.pods().get_opt(&format!("{name}-0")).await;
            let pod = pod.map_err(|error| failed("cannot ask the cluster", &error))?;
            let is_new = |pod: &Pod| {
                let revision = pod.metadata.labels.as_ref().and_then(|labels| labels.get(REVISION));
                revision == status.update_revision.as_ref()
            };
            if let Some(pod) = pod.filter(|pod| is_seen && is_new(pod)) {
                pulled = failed_pull(&pod).or(pulled);
                if let Sight::Hopeless(reason) = look(&pod, pulled.as_deref()) {
                    return Err(self
                        .not_up(id, reason)
                        .last_lines(self.last_lines(&format!("{name}-0")).await));
                }
            }
            if is_seen
                && status.updated_replicas == Some(1)
                && status.current_revision == status.update_revision
            {
                return Ok(());
            }
            if Instant::now() >= until {
                let message = format!("the platform was not replaced within {} s", PLATFORM_START.as_secs());
                return Err(TargetError::new(Problem::Failed, message)
                    .hint(format!("see it: kubectl -n {} describe pod {name}-0", self.namespace)));
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Waits until the platform's pod runs and its service answers.
    pub(super) async fn until_it_answers(&self, id: &EnvironmentId) -> Result<(), TargetError> {
        let name = format!("{}-0", name_of(id));
        let begun = Instant::now();
        let until = begun + PLATFORM_START;
        let (mut pulled, mut reason) = (None, "its pod was not made".to_owned());
        loop {
            let pod =
                self.pods().get_opt(&name).await.map_err(|error| failed("cannot ask the cluster", &error))?;
            if pod.is_none()
                && let Some(words) = self.refused_pod(&name_of(id)).await?
            {
                reason = words;
                if begun.elapsed() >= REFUSED {
                    return Err(self.not_up(id, reason));
                }
            }
            if let Some(pod) = pod {
                pulled = failed_pull(&pod).or(pulled);
                match look(&pod, pulled.as_deref()) {
                    Sight::Hopeless(reason) => {
                        let lines = self.last_lines(&name).await;
                        return Err(self.not_up(id, reason).last_lines(lines));
                    }
                    Sight::Waits(wait) => reason = wait.reason().to_owned(),
                    Sight::Ended(end) => reason = end.reason.unwrap_or_else(|| "it ended".to_owned()),
                    Sight::Fine => match self.connected(id).await?.service.environments().await {
                        Ok(_) => return Ok(()),
                        Err(error) if error.problem == Problem::Unreachable => reason = error.text(),
                        Err(error) => return Err(error),
                    },
                }
            }
            if Instant::now() >= until {
                return Err(self.not_up(id, reason));
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Why the cluster makes no pod for the platform, if it has said so.
    async fn refused_pod(&self, name: &str) -> Result<Option<String>, TargetError> {
        let of = format!("involvedObject.kind=StatefulSet,involvedObject.name={name},type=Warning");
        let events: Api<Event> = Api::namespaced(self.client.clone(), &self.namespace);
        let events = events.list(&ListParams::default().fields(&of)).await;
        let events = events.map_err(|error| failed("cannot list events", &error))?;
        Ok(events.items.into_iter().rev().find_map(|event| event.message))
    }

    /// What its container has said last, as far as that can be read.
    async fn last_lines(&self, pod: &str) -> Vec<String> {
        let last = LogParams { tail_lines: Some(LAST_LINES), ..LogParams::default() };
        let text = self.pods().logs(pod, &last).await.unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    fn not_up(&self, id: &EnvironmentId, reason: String) -> TargetError {
        TargetError::new(Problem::NotReady, format!("the platform of {id} does not run"))
            .because(reason)
            .hint("see what the cluster lacks: kubectl get events -A --field-selector type=Warning")
    }

    /// Of all objects of an environment, those that are left and cost something.
    pub(super) async fn pods_left(&self, name: &str) -> Result<usize, TargetError> {
        let of = ListParams::default().labels(&format!("app.kubernetes.io/instance={name}"));
        let pods = self.pods().list(&of).await.map_err(|error| failed("cannot list pods", &error))?;
        let services: Api<Service> = Api::namespaced(self.client.clone(), &self.namespace);
        let services = services.list(&of).await.map_err(|error| failed("cannot list services", &error))?;
        Ok(pods.items.len() + services.items.len())
    }
}
