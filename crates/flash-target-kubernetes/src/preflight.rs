//! What would prevent an environment, or a release, from running on a cluster: all of it at once, before anything is changed.
//!
//! What may not be looked at is not checked: the change itself will say so.
use std::fmt;

use flash_protocol::manifest::ComputeEntry;
use flash_target::{Finding, Preflight, ReleaseSpec};
use futures_util::future::join_all;
use k8s_openapi::{
    Resource,
    api::{
        authorization::v1::{ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec},
        core::v1::{Node, PersistentVolume, PersistentVolumeClaim, Secret, ServiceAccount},
        node::v1::RuntimeClass,
        scheduling::v1::PriorityClass,
        storage::v1::StorageClass,
    },
    apimachinery::pkg::version::Info,
};
use kube::{
    Api, Client,
    api::{ListParams, PostParams},
};
use serde::de::DeserializeOwned;

use super::{
    settings::{ClusterSettings, LONGEST_DRAIN_SECONDS},
    worker_pod::GPU,
};

/// The oldest version of Kubernetes with what is used of it, as a minor version of 1.
const OLDEST: u32 = 20;
/// Marks the class of volumes that name none.
const DEFAULT_CLASS: &str = "storageclass.kubernetes.io/is-default-class";

/// A right in the namespace.
#[derive(Clone, Copy)]
struct Right {
    verb: &'static str,
    group: &'static str,
    resource: &'static str,
    /// Empty for the resource itself.
    subresource: &'static str,
}

const fn right(verb: &'static str, group: &'static str, resource: &'static str) -> Right {
    Right { verb, group, resource, subresource: "" }
}

/// What the user's commands do.
const RIGHTS: [Right; 22] = [
    right("get", "", "configmaps"),
    right("list", "", "configmaps"),
    right("create", "", "configmaps"),
    right("patch", "", "configmaps"),
    right("delete", "", "configmaps"),
    right("create", "", "secrets"),
    right("list", "", "services"),
    right("create", "", "services"),
    right("patch", "", "services"),
    right("create", "", "serviceaccounts"),
    right("patch", "", "serviceaccounts"),
    right("create", "", "persistentvolumeclaims"),
    right("patch", "", "persistentvolumeclaims"),
    right("get", "apps", "statefulsets"),
    right("create", "apps", "statefulsets"),
    right("patch", "apps", "statefulsets"),
    right("create", "networking.k8s.io", "networkpolicies"),
    right("patch", "networking.k8s.io", "networkpolicies"),
    right("get", "", "pods"),
    right("list", "", "pods"),
    // WebSockets need the first, and from 1.35 on the second, too.
    Right { verb: "get", group: "", resource: "pods", subresource: "portforward" },
    Right { verb: "create", group: "", resource: "pods", subresource: "portforward" },
];
/// In addition, where the platform's service account is ours to make: who gives a role must have what it allows.
const RIGHTS_FOR_ROLES: [Right; 7] = [
    right("create", "rbac.authorization.k8s.io", "roles"),
    right("patch", "rbac.authorization.k8s.io", "roles"),
    right("create", "rbac.authorization.k8s.io", "rolebindings"),
    right("patch", "rbac.authorization.k8s.io", "rolebindings"),
    right("create", "", "pods"),
    right("watch", "", "pods"),
    right("delete", "", "pods"),
];
/// In addition, with a host name.
const RIGHTS_FOR_HOST: [Right; 2] =
    [right("create", "networking.k8s.io", "ingresses"), right("patch", "networking.k8s.io", "ingresses")];

/// A cluster to check.
pub(crate) struct Checked<'a> {
    pub client: &'a Client,
    pub namespace: &'a str,
    pub settings: &'a ClusterSettings,
}

impl Checked<'_> {
    /// What would prevent an environment from being made.
    pub(crate) async fn of_environment(&self, name: &str) -> Vec<Finding> {
        let mut found = Vec::new();
        found.extend(self.version().await);
        found.extend(self.rights().await);
        found.extend(self.references().await);
        found.extend(self.storage(name).await);
        found
    }

    /// What would prevent a release from running, and what may.
    pub(crate) async fn of_release(&self, spec: &ReleaseSpec) -> Preflight {
        let program = |name: &str| Finding {
            message: format!("worker type `{name}` is a program, which cannot run in a cluster yet"),
            fix: "run it with the app on one machine: flash deploy new NAME --target local".to_owned(),
        };
        let mut problems: Vec<Finding> =
            spec.commands.iter().map(|command| program(&command.worker_type.name)).collect();
        let drain = spec.runtime.drain_seconds;
        if drain > LONGEST_DRAIN_SECONDS {
            problems.push(Finding {
                message: format!(
                    "`drain_seconds` is {drain}; pods in a cluster get at most {LONGEST_DRAIN_SECONDS}"
                ),
                fix: format!("set drain_seconds = {LONGEST_DRAIN_SECONDS} or less under [run] in flash.toml"),
            });
        }
        let wanted = spec.manifest.workers.iter().filter_map(|worker| match &worker.compute {
            ComputeEntry::Gpu { count, .. } => Some((worker.name.as_str(), *count)),
            ComputeEntry::Cpu { .. } => None,
        });
        let warnings = match wanted.max_by_key(|(_, count)| *count) {
            // A node with a GPU may come when it is needed.
            Some((worker, count)) => self.gpus(worker, count).await.into_iter().collect(),
            None => Vec::new(),
        };
        Preflight { problems, warnings, changes: Vec::new() }
    }

    async fn version(&self) -> Option<Finding> {
        let Info { major, minor, git_version, .. } = self.client.apiserver_version().await.ok()?;
        // Some providers append a plus sign.
        let number =
            |text: &str| text.trim_end_matches(|last: char| !last.is_ascii_digit()).parse::<u32>().ok();
        let is_old = number(&major)? < 1 || (number(&major)? == 1 && number(&minor)? < OLDEST);
        is_old.then(|| Finding {
            message: format!("the cluster runs Kubernetes {git_version}; 1.{OLDEST} or later is needed"),
            fix: "use another cluster: --context CONTEXT".to_owned(),
        })
    }

    async fn rights(&self) -> Option<Finding> {
        let for_roles = self.settings.service_account.is_none().then_some(RIGHTS_FOR_ROLES);
        let for_host = self.settings.host.is_some().then_some(RIGHTS_FOR_HOST);
        let wanted =
            RIGHTS.into_iter().chain(for_roles.into_iter().flatten()).chain(for_host.into_iter().flatten());
        let lacking =
            join_all(wanted.map(|right| async move { self.lacks(right).await.then(|| right.to_string()) }));
        let lacking: Vec<String> = lacking.await.into_iter().flatten().collect();
        if lacking.is_empty() {
            return None;
        }
        let only_roles =
            lacking.iter().all(|right| right.contains("roles.") || right.contains("rolebindings."));
        let fix = match only_roles {
            true => {
                "have an administrator apply what `flash deploy manifest` prints, then add --service-account with \
                     its account"
            }
            false => {
                "ask an administrator of the cluster for them, or use another namespace: --namespace NAMESPACE"
            }
        };
        Some(Finding {
            message: format!("you may not do in namespace `{}`: {}", self.namespace, lacking.join(", ")),
            fix: fix.to_owned(),
        })
    }

    async fn lacks(&self, right: Right) -> bool {
        let Right { verb, group, resource, subresource } = right;
        let own = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
        let review = SelfSubjectAccessReview {
            spec: SelfSubjectAccessReviewSpec {
                resource_attributes: Some(ResourceAttributes {
                    namespace: own(self.namespace),
                    verb: own(verb),
                    group: own(group),
                    resource: own(resource),
                    subresource: own(subresource),
                    ..ResourceAttributes::default()
                }),
                ..SelfSubjectAccessReviewSpec::default()
            },
            ..SelfSubjectAccessReview::default()
        };
        let api: Api<SelfSubjectAccessReview> = Api::all(self.client.clone());
        let answer = api.create(&PostParams::default(), &review).await;
        answer.ok().and_then(|answer| answer.status).is_some_and(|status| !status.allowed)
    }

    /// What the settings name and the cluster does not have.
    async fn references(&self) -> Vec<Finding> {
        let ClusterSettings { pull_secret, runtime_class, priority_class, service_account, .. } =
            self.settings;
        let own = self.namespace;
        let secrets: Api<Secret> = Api::namespaced(self.client.clone(), own);
        let accounts: Api<ServiceAccount> = Api::namespaced(self.client.clone(), own);
        let runtimes: Api<RuntimeClass> = Api::all(self.client.clone());
        let priorities: Api<PriorityClass> = Api::all(self.client.clone());
        let mut found = Vec::new();
        found.extend(
            missing(
                &secrets,
                pull_secret.as_deref(),
                "pull_secret",
                "create it: kubectl create secret docker-registry",
            )
            .await,
        );
        found.extend(
            missing(
                &accounts,
                service_account.as_deref(),
                "service_account",
                "have it made: flash deploy manifest",
            )
            .await,
        );
        found.extend(
            missing(
                &runtimes,
                runtime_class.as_deref(),
                "runtime_class",
                "see those that there are: kubectl get runtimeclass",
            )
            .await,
        );
        found.extend(
            missing(
                &priorities,
                priority_class.as_deref(),
                "priority_class",
                "see those that there are: kubectl get priorityclass",
            )
            .await,
        );
        found
    }

    /// Whether the volume of a new environment can be made.
    async fn storage(&self, name: &str) -> Option<Finding> {
        let claims: Api<PersistentVolumeClaim> = Api::namespaced(self.client.clone(), self.namespace);
        if claims.get_opt(name).await.ok()?.is_some() {
            return None;
        }
        let classes: Api<StorageClass> = Api::all(self.client.clone());
        let classes = classes.list(&ListParams::default()).await.ok()?.items;
        let names: Vec<&str> = classes.iter().filter_map(|class| class.metadata.name.as_deref()).collect();
        let wanted = self.settings.storage_class.as_deref();
        let has_class = match wanted {
            Some(wanted) => names.contains(&wanted),
            None => classes.iter().any(|class| {
                let notes = class.metadata.annotations.as_ref();
                notes.and_then(|notes| notes.get(DEFAULT_CLASS)).is_some_and(|value| value == "true")
            }),
        };
        // A volume that an administrator has made needs no class that makes them.
        if has_class || self.has_volume(wanted.unwrap_or_default()).await? {
            return None;
        }
        let there =
            if names.is_empty() { "it has none".to_owned() } else { format!("it has {}", names.join(", ")) };
        let message = match wanted {
            Some(wanted) => format!("the cluster has no storage class `{wanted}`; {there}"),
            None => format!("the cluster has no default storage class; {there}"),
        };
        let fix = "name one in flash.toml: storage_class = \"NAME\" under [environments.NAME.kubernetes]";
        Some(Finding { message, fix: fix.to_owned() })
    }

    async fn has_volume(&self, class: &str) -> Option<bool> {
        let volumes: Api<PersistentVolume> = Api::all(self.client.clone());
        let volumes = volumes.list(&ListParams::default()).await.ok()?;
        let is_free = |volume: &PersistentVolume| {
            let phase = volume.status.as_ref().and_then(|status| status.phase.as_deref());
            let own =
                volume.spec.as_ref().and_then(|spec| spec.storage_class_name.as_deref()).unwrap_or_default();
            phase == Some("Available") && own == class
        };
        Some(volumes.iter().any(is_free))
    }

    /// Whether a node has this many GPUs. One that a cluster's autoscaler adds when it is needed cannot be seen: a warning at
    /// most, if there are no nodes with GPUs.
    async fn gpus(&self, worker: &str, count: u32) -> Option<Finding> {
        let nodes: Api<Node> = Api::all(self.client.clone());
        let nodes = nodes.list(&ListParams::default()).await.ok()?;
        let of_node = |node: &Node| {
            let allocatable = node.status.as_ref()?.allocatable.as_ref()?;
            allocatable.get(GPU)?.0.parse::<u32>().ok()
        };
        let most = nodes.iter().filter_map(of_node).max().unwrap_or(0);
        (most < count).then(|| Finding {
            message: format!("worker type `{worker}` needs {count} {GPU}, and no node has more than {most}"),
            fix: "its workers wait until one has; see the nodes: kubectl describe nodes".to_owned(),
        })
    }
}

impl fmt::Display for Right {
    /// `create pods/portforward`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { verb, group, resource, subresource } = self;
        write!(f, "{verb} {resource}")?;
        match (group.is_empty(), subresource.is_empty()) {
            (true, true) => Ok(()),
            (false, true) => write!(f, ".{group}"),
            (_, false) => write!(f, "/{subresource}"),
        }
    }
}

async fn missing<K>(api: &Api<K>, name: Option<&str>, key: &str, fix: &str) -> Option<Finding>
where
    K: Clone + DeserializeOwned + fmt::Debug + Resource,
{
    let name = name?;
    let is_there = api.get_opt(name).await.ok()?.is_some();
    (!is_there).then(|| Finding {
        message: format!("`{key}` names `{name}`, which the cluster does not have"),
        fix: fix.to_owned(),
    })
}
