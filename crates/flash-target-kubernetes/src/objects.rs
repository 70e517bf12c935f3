//! The objects of an environment, as they are applied. Decides only: nothing here asks a cluster.
//!
//! All are labelled `app.kubernetes.io/managed-by=flash`, and all but the namespace are owned by the *root*, a config map:
//! deleting it deletes them.
use flash_target::EnvironmentId;
use serde_json::{Value, json};

use super::{
    names::{Component, labels, name_of},
    settings::{ClusterSettings, LONGEST_DRAIN_SECONDS, PLATFORM, PLATFORM_JOIN_KEY, PlatformSettings},
};

/// Where the platform listens for requests and workers.
pub(crate) const PORT: u16 = 8000;
/// Where it listens for commands, on the loopback address of its pod.
pub(crate) const CONTROL_PORT: u16 = 8001;
/// The path of the volume in the platform's pod, which belongs to its node.
const VOLUME: &str = "/data";
/// The platform's own directory on it.
pub(crate) const DATA: &str = "/data/flash";
/// The user and group in the pods.
const USER: u32 = 65532;
/// How long the platform may take to end: longer than the longest drain time.
const GRACE_SECONDS: u64 = LONGEST_DRAIN_SECONDS + 60;
/// The key of the secret, and its only entry.
const JOIN_KEY: &str = "join-key";
/// The size of the volume, unless set.
const STORAGE: &str = "10Gi";

/// An environment to make in a cluster.
pub(crate) struct Wanted<'a> {
    pub id: &'a EnvironmentId,
    /// The name of its objects.
    pub name: &'a str,
    pub namespace: &'a str,
    pub settings: &'a ClusterSettings,
}

impl Wanted<'_> {
    fn metadata(&self, name: &str, component: Component) -> Value {
        json!({ "name": name, "namespace": self.namespace, "labels": labels(self.name, self.id, component) })
    }

    /// As [`Self::metadata`], owned by the root.
    fn owned(&self, name: &str, component: Component, root_uid: &str) -> Value {
        let mut metadata = self.metadata(name, component);
        metadata["ownerReferences"] = json!([owner(self.name, root_uid)]);
        metadata
    }

    /// The owner of all others.
    pub(crate) fn root(&self) -> Value {
        json!({
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": self.metadata(self.name, Component::Platform),
            "data": {
                "app": self.id.app,
                "environment": self.id.name,
                "version": env!("CARGO_PKG_VERSION"),
                "host": self.settings.host.as_deref().unwrap_or_default(),
            },
        })
    }

    /// The key by which workers join the platform. Made once, never applied again: pods that have not joined yet have it.
    pub(crate) fn secret(&self, root_uid: &str, key: &str) -> Value {
        json!({
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": self.owned(self.name, Component::Platform, root_uid),
            "type": "Opaque",
            "stringData": { JOIN_KEY: key },
        })
    }

    /// Objects that an environment with other settings has, by kind; to be deleted.
    pub(crate) fn superfluous(&self) -> Vec<(&'static str, &'static str)> {
        let mut kinds = Vec::new();
        if self.settings.host.is_none() {
            kinds.push(("networking.k8s.io/v1", "Ingress"));
        }
        if self.settings.service_account.is_some() {
            kinds.extend([
                ("rbac.authorization.k8s.io/v1", "RoleBinding"),
                ("rbac.authorization.k8s.io/v1", "Role"),
                ("v1", "ServiceAccount"),
            ]);
        }
        kinds
    }

    /// The service, whose address goes into the workers' variables.
    pub(crate) fn service(&self, root_uid: &str) -> Value {
        json!({
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": self.owned(self.name, Component::Platform, root_uid),
            "spec": {
                "selector": self.selector(Component::Platform),
                // Workers come back as soon as the platform listens.
                "publishNotReadyAddresses": true,
                "ports": [{ "name": "http", "port": PORT, "targetPort": PORT, "protocol": "TCP" }],
            },
        })
    }

    /// Everything beside the root, the service and the platform.
    pub(crate) fn surroundings(&self, root_uid: &str) -> Vec<Value> {
        let worker = account_of_workers(self.name);
        let mut objects = vec![
            json!({
                "apiVersion": "v1",
                "kind": "ServiceAccount",
                "metadata": self.owned(&worker, Component::Worker, root_uid),
                "automountServiceAccountToken": false,
            }),
            self.volume_claim(root_uid),
            json!({
                "apiVersion": "networking.k8s.io/v1",
                "kind": "NetworkPolicy",
                "metadata": self.owned(&worker, Component::Worker, root_uid),
                "spec": {
                    "podSelector": { "matchLabels": self.selector(Component::Worker) },
                    "policyTypes": ["Ingress"],
                    "ingress": [{
                        "from": [{ "podSelector": { "matchLabels": self.selector(Component::Platform) } }],
                    }],
                },
            }),
        ];
        if self.settings.service_account.is_none() {
            objects.extend(self.account_of_platform(root_uid));
        }
        objects.extend(self.settings.host.as_ref().map(|host| self.ingress(root_uid, host)));
        objects
    }

    fn account_of_platform(&self, root_uid: &str) -> [Value; 3] {
        self.account(&self.owned(self.name, Component::Platform, root_uid))
    }

    /// The platform's service account, and its role.
    fn account(&self, metadata: &Value) -> [Value; 3] {
        [
            json!({ "apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata }),
            json!({
                "apiVersion": "rbac.authorization.k8s.io/v1",
                "kind": "Role",
                "metadata": metadata,
                "rules": rules(),
            }),
            json!({
                "apiVersion": "rbac.authorization.k8s.io/v1",
                "kind": "RoleBinding",
                "metadata": metadata,
                "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": self.name },
                "subjects": [{ "kind": "ServiceAccount", "name": self.name, "namespace": self.namespace }],
            }),
        ]
    }

    fn volume_claim(&self, root_uid: &str) -> Value {
        let size = self.settings.storage.as_deref().unwrap_or(STORAGE);
        let mut spec = json!({
            "accessModes": ["ReadWriteOnce"],
            "resources": { "requests": { "storage": size } },
        });
        if let Some(class) = &self.settings.storage_class {
            spec["storageClassName"] = json!(class);
        }
        json!({
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": self.owned(self.name, Component::Platform, root_uid),
            "spec": spec,
        })
    }

    fn ingress(&self, root_uid: &str, host: &str) -> Value {
        json!({
            "apiVersion": "networking.k8s.io/v1",
            "kind": "Ingress",
            "metadata": self.owned(self.name, Component::Platform, root_uid),
            "spec": {
                "rules": [{
                    "host": host,
                    "http": { "paths": [{
                        "path": "/",
                        "pathType": "Prefix",
                        "backend": { "service": { "name": self.name, "port": { "number": PORT } } },
                    }] },
                }],
            },
        })
    }

    /// The platform. `image` is `flash` itself, by its digest, and `address` that of its service.
    pub(crate) fn platform(&self, root_uid: &str, image: &str, address: &str) -> Value {
        let host = if address.contains(':') { format!("[{address}]") } else { address.to_owned() };
        let settings = PlatformSettings {
            id: self.id.clone(),
            name: self.name.to_owned(),
            namespace: self.namespace.to_owned(),
            root_uid: root_uid.to_owned(),
            url: format!("http://{host}:{PORT}"),
            settings: self.settings.clone(),
        };
        let settings = serde_json::to_string(&settings).unwrap_or_default();
        let selector = self.selector(Component::Platform);
        let account = self.settings.service_account.as_deref().unwrap_or(self.name);
        let mut pod = json!({
            "serviceAccountName": account,
            "enableServiceLinks": false,
            "nodeSelector": own_architecture(),
            "terminationGracePeriodSeconds": GRACE_SECONDS,
            "securityContext": { "fsGroup": USER, "seccompProfile": { "type": "RuntimeDefault" } },
            // A lost node gives the platform up soon: its volume is the fence.
            "tolerations": soon_given_up(),
            "containers": [{
                "name": "platform",
                "image": image,
                "imagePullPolicy": "IfNotPresent",
                "args": [crate::PLATFORM_ARGUMENT],
                "env": [
                    { "name": PLATFORM, "value": settings },
                    join_key(self.name, PLATFORM_JOIN_KEY),
                ],
                "ports": [{ "name": "http", "containerPort": PORT, "protocol": "TCP" }],
                "resources": {
                    "requests": { "cpu": "100m", "memory": "128Mi" },
                    "limits": { "memory": "2Gi" },
                },
                "securityContext": restricted(),
                "volumeMounts": [{ "name": "data", "mountPath": VOLUME }],
            }],
            "volumes": [{ "name": "data", "persistentVolumeClaim": { "claimName": self.name } }],
        });
        if let Some(secret) = &self.settings.pull_secret {
            pod["imagePullSecrets"] = json!([{ "name": secret }]);
        }
        json!({
            "apiVersion": "apps/v1",
            "kind": "StatefulSet",
            "metadata": self.owned(self.name, Component::Platform, root_uid),
            "spec": {
                "replicas": 1,
                "serviceName": self.name,
                // Otherwise one that does not start is never replaced by another version.
                "podManagementPolicy": "Parallel",
                "selector": { "matchLabels": selector },
                "template": {
                    "metadata": { "labels": labels(self.name, self.id, Component::Platform) },
                    "spec": pod,
                },
            },
        })
    }

    fn selector(&self, component: Component) -> Value {
        json!({ "app.kubernetes.io/instance": self.name, "app.kubernetes.io/component": component.as_str() })
    }
}

/// What an administrator applies for an environment whose user may make no roles: the namespace, the platform's service account,
/// and its role in that namespace, as one list.
pub fn for_administrator(id: &EnvironmentId, namespace: &str) -> Value {
    let (name, settings) = (name_of(id), ClusterSettings::default());
    let wanted = Wanted { id, name: &name, namespace, settings: &settings };
    let of_namespace = json!({
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": { "name": namespace },
    });
    let account = wanted.account(&wanted.metadata(&name, Component::Platform));
    let items: Vec<Value> = std::iter::once(of_namespace).chain(account).collect();
    json!({ "apiVersion": "v1", "kind": "List", "items": items })
}

/// What the platform may do, in its namespace only.
pub(crate) fn rules() -> Value {
    json!([
        { "apiGroups": [""], "resources": ["pods"], "verbs": ["create", "get", "list", "watch", "delete"] },
    ])
}

/// A variable with the key by which pods join. Whoever may read pods does not read it.
pub(crate) fn join_key(name: &str, variable: &str) -> Value {
    json!({ "name": variable, "valueFrom": { "secretKeyRef": { "name": name, "key": JOIN_KEY } } })
}

/// Nodes with the architecture of this program: images are built for it.
pub(crate) fn own_architecture() -> Value {
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    json!({ "kubernetes.io/arch": architecture })
}

/// The root as an owner, which `kubectl drain` takes for a controller.
pub(crate) fn owner(name: &str, root_uid: &str) -> Value {
    json!({ "apiVersion": "v1", "kind": "ConfigMap", "name": name, "uid": root_uid, "controller": true })
}

/// The name of the service account of workers, which has no rights.
pub(crate) fn account_of_workers(name: &str) -> String {
    format!("{name}-worker")
}

/// Tolerates a lost node for half a minute instead of five.
pub(crate) fn soon_given_up() -> Value {
    let tolerated = |key: &str| json!({ "key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 30 });
    json!([tolerated("node.kubernetes.io/not-ready"), tolerated("node.kubernetes.io/unreachable")])
}

/// What Kubernetes calls the restricted profile.
pub(crate) fn restricted() -> Value {
    json!({
        "allowPrivilegeEscalation": false,
        "capabilities": { "drop": ["ALL"] },
        "runAsNonRoot": true,
        "runAsUser": USER,
        "runAsGroup": USER,
        "seccompProfile": { "type": "RuntimeDefault" },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(settings: &ClusterSettings) -> Vec<Value> {
        let id = EnvironmentId::new("api", "prod").unwrap();
        let wanted = Wanted { id: &id, name: "flash-api-prod-abc", namespace: "ml", settings };
        let mut objects = wanted.surroundings("uid");
        objects.extend([
            wanted.secret("uid", "key"),
            wanted.root(),
            wanted.service("uid"),
            wanted.platform("uid", "i@sha256:1", "10.0.0.1"),
        ]);
        objects
    }

    fn kinds(objects: &[Value]) -> Vec<&str> {
        let mut kinds: Vec<&str> = objects.iter().filter_map(|object| object["kind"].as_str()).collect();
        kinds.sort_unstable();
        kinds
    }

    #[test]
    fn every_object_has_the_labels_and_all_but_the_root_its_owner() {
        for object in all(&ClusterSettings { host: Some("a.example".to_owned()), ..Default::default() }) {
            let metadata = &object["metadata"];
            assert_eq!(metadata["labels"]["app.kubernetes.io/managed-by"], "flash", "{object}");
            assert_eq!(metadata["namespace"], "ml", "{object}");
            let is_root = object["kind"] == "ConfigMap";
            assert_eq!(metadata["ownerReferences"][0]["uid"] == "uid", !is_root, "{object}");
        }
    }

    #[test]
    fn roles_are_only_made_for_an_account_of_our_own_and_an_ingress_for_a_host() {
        let with_own = all(&ClusterSettings::default());
        assert!(kinds(&with_own).contains(&"Role") && !kinds(&with_own).contains(&"Ingress"));
        let settings = ClusterSettings {
            service_account: Some("given".to_owned()),
            host: Some("a.example".to_owned()),
            ..Default::default()
        };
        let with_given = all(&settings);
        assert!(!kinds(&with_given).contains(&"RoleBinding") && kinds(&with_given).contains(&"Ingress"));
        let platform = with_given.iter().find(|object| object["kind"] == "StatefulSet").unwrap();
        assert_eq!(platform["spec"]["template"]["spec"]["serviceAccountName"], "given");
    }

    #[test]
    fn every_object_fits_the_schemas_of_kubernetes() {
        let all_settings = ClusterSettings {
            context: Some("c".to_owned()),
            namespace: Some("ml".to_owned()),
            storage_class: Some("fast".to_owned()),
            storage: Some("20Gi".to_owned()),
            pull_secret: Some("pull".to_owned()),
            runtime_class: Some("nvidia".to_owned()),
            priority_class: Some("low".to_owned()),
            service_account: None,
            host: Some("a.example".to_owned()),
            cpu_request_percent: Some(50),
            gpu_products: [("NVIDIA L4".to_owned(), "our-l4".to_owned())].into(),
        };
        let mut objects = all(&all_settings);
        objects.extend(all(&ClusterSettings::default()));
        let id = EnvironmentId::new("api", "prod").unwrap();
        let list = for_administrator(&id, "ml");
        objects.extend(list["items"].as_array().unwrap().iter().cloned());
        crate::schemas::check(&objects);
    }

    #[test]
    fn no_object_is_one_of_the_whole_cluster() {
        let objects = all(&ClusterSettings::default());
        assert!(kinds(&objects).iter().all(|kind| !kind.starts_with("Cluster") && *kind != "Namespace"));
    }
}
