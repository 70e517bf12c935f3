//! A namespace of the Kubernetes cluster that `cargo xtask cluster up` has started, with a volume for one environment.
use std::process::Command;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::{skipped, wait_for};
use crate::support::SOON;

/// See the module. Removed when dropped.
pub struct TestCluster {
    pub namespace: String,
    pub registry: String,
    /// Where the node finds the volume: on this machine.
    volume: TempDir,
}

impl TestCluster {
    /// `None` without a cluster. `FLASH_REQUIRE_CLUSTER=1` forbids that there is none.
    pub fn find() -> Option<Self> {
        let Ok(registry) = std::env::var("FLASH_TEST_CLUSTER_REGISTRY") else {
            let why = "no cluster is named; `cargo xtask test --cluster` starts one";
            skipped::skip(skipped::Needs::Cluster, why);
            return None;
        };
        let namespace = format!("flash-test-{}", &uuid::Uuid::new_v4().simple().to_string()[..8]);
        let volume = TempDir::new().unwrap();
        std::fs::set_permissions(volume.path(), std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
        let cluster = Self { namespace, registry, volume };
        cluster.apply(&json!({
            "apiVersion": "v1",
            "kind": "PersistentVolume",
            "metadata": { "name": cluster.namespace },
            "spec": {
                "capacity": { "storage": "1Gi" },
                "accessModes": ["ReadWriteOnce"],
                "storageClassName": cluster.namespace,
                "hostPath": { "path": cluster.volume.path() },
            },
        }));
        Some(cluster)
    }

    /// The settings of an environment `production` in it.
    pub fn settings(&self) -> String {
        let Self { namespace, registry, .. } = self;
        format!(
            "[environments.production]\ntarget = \"kubernetes\"\nregistry = \"{registry}/{namespace}\"\n\
             [environments.production.kubernetes]\nnamespace = \"{namespace}\"\nstorage_class = \"{namespace}\"\n\
             storage = \"1Gi\"\ncpu_request_percent = 5\n"
        )
    }

    /// `kubectl` in the namespace.
    pub fn kubectl(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("kubectl");
        command.args(["--namespace", &self.namespace]).args(arguments);
        command
    }

    /// What `kubectl` prints. It must end well.
    #[track_caller]
    pub fn ask(&self, arguments: &[&str]) -> String {
        let output = self.kubectl(arguments).output().unwrap();
        assert!(
            output.status.success(),
            "kubectl {arguments:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).unwrap()
    }

    /// Whether there is the namespace.
    pub fn exists(&self) -> bool {
        let output = self.kubectl(&["get", "namespace", &self.namespace]).output().unwrap();
        output.status.success()
    }

    /// Objects of these kinds that are labelled as ours.
    #[track_caller]
    pub fn ours(&self, kinds: &str) -> Vec<Value> {
        let label = "app.kubernetes.io/managed-by=flash";
        let list: Value =
            serde_json::from_str(&self.ask(&["get", kinds, "--selector", label, "--output", "json"]))
                .unwrap();
        list["items"].as_array().unwrap().clone()
    }

    /// Names of the workers' pods of this type that are not on their way out.
    #[track_caller]
    pub fn workers(&self, worker_type: &str) -> Vec<String> {
        let is_of = |pod: &&Value| pod["metadata"]["labels"]["flash.dev/worker"] == worker_type;
        let stays = |pod: &&Value| pod["metadata"]["deletionTimestamp"].is_null();
        let name = |pod: &Value| pod["metadata"]["name"].as_str().unwrap().to_owned();
        self.ours("pods").iter().filter(is_of).filter(stays).map(name).collect()
    }

    /// The platform's pod.
    #[track_caller]
    pub fn platform(&self) -> String {
        let selector = "app.kubernetes.io/component=platform";
        self.ask(&["get", "pods", "--selector", selector, "--output", "name"]).trim().to_owned()
    }

    fn apply(&self, object: &Value) {
        let path = self.volume.path().join("object.json");
        std::fs::write(&path, object.to_string()).unwrap();
        self.ask(&["apply", "--filename", path.to_str().unwrap()]);
        std::fs::remove_file(path).unwrap();
    }
}

impl Drop for TestCluster {
    fn drop(&mut self) {
        // Nothing is waited for: the cluster looks at a namespace again only after half the time that its pods may take.
        for [kind, name] in [["namespace", &self.namespace], ["persistentvolume", &self.namespace]] {
            let _ = self.kubectl(&["delete", kind, name, "--ignore-not-found", "--wait=false"]).output();
        }
    }
}

/// Waits until this many objects are left.
#[track_caller]
pub fn wait_for_objects(cluster: &TestCluster, kinds: &str, count: usize) {
    wait_for("the number of objects", SOON, || {
        let found = cluster.ours(kinds);
        let names: Vec<&Value> = found.iter().map(|object| &object["metadata"]["name"]).collect();
        if found.len() == count { Ok(()) } else { Err(format!("{names:?}")) }
    });
}
