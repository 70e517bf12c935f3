//! The pod of a worker, as it is made. Decides only.
//!
//! `restartPolicy: Never` and no controller of Kubernetes: the platform chooses which worker ends and when one starts again.
use flash_platform::PodSpec;
use flash_protocol::{manifest::ComputeEntry, variables};
use serde_json::{Map, Value, json};

use super::{
    names::{Component, label, labels, pod_name},
    objects::{account_of_workers, join_key, own_architecture, owner, restricted, soon_given_up},
    settings::{GPU_LABEL, LONGEST_DRAIN_SECONDS, PlatformSettings},
};

/// What nodes with GPUs call them.
pub(crate) const GPU: &str = "nvidia.com/gpu";
/// How long a worker may take after SIGTERM: longer than the longest drain time.
const GRACE_SECONDS: u64 = LONGEST_DRAIN_SECONDS + 60;

/// The pod of this worker.
pub(crate) fn worker_pod(platform: &PlatformSettings, spec: &PodSpec) -> Value {
    let PlatformSettings { id, name, namespace, root_uid, settings, .. } = platform;
    let mut labels = labels(name, id, Component::Worker);
    labels["flash.dev/release"] = json!(spec.release.to_string());
    labels["flash.dev/worker"] = json!(label(&spec.worker_type.name));
    let environment = spec.environment.iter().map(|(name, value)| json!({ "name": name, "value": value }));
    let environment: Vec<Value> = environment.chain([join_key(name, variables::POD_KEY)]).collect();
    let mut pod = json!({
        "serviceAccountName": account_of_workers(name),
        "automountServiceAccountToken": false,
        "enableServiceLinks": false,
        "nodeSelector": own_architecture(),
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": GRACE_SECONDS,
        "securityContext": { "seccompProfile": { "type": "RuntimeDefault" } },
        "tolerations": tolerations(&spec.worker_type.compute),
        "containers": [{
            "name": "worker",
            "image": spec.image,
            "imagePullPolicy": "IfNotPresent",
            "env": environment,
            "resources": resources(&spec.worker_type.compute, settings.cpu_request_percent.unwrap_or(100)),
            "securityContext": restricted(),
        }],
    });
    if let ComputeEntry::Gpu { .. } = &spec.worker_type.compute {
        pod["affinity"] = affinity(platform, &spec.worker_type.compute);
        if let Some(class) = &settings.runtime_class {
            pod["runtimeClassName"] = json!(class);
        }
    }
    if let Some(class) = &settings.priority_class {
        pod["priorityClassName"] = json!(class);
    }
    if let Some(secret) = &settings.pull_secret {
        pod["imagePullSecrets"] = json!([{ "name": secret }]);
    }
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": pod_name(name, &spec.name),
            "namespace": namespace,
            "labels": labels,
            "ownerReferences": [owner(name, root_uid)],
        },
        "spec": pod,
    })
}

/// As the instance has them: this much of a CPU instance's processors is asked for and may be exceeded, its memory may not.
fn resources(compute: &ComputeEntry, cpu_percent: u32) -> Value {
    match compute {
        ComputeEntry::Cpu { instances } => match instances.first() {
            Some(instance) => json!({
                "requests": { "cpu": format!("{}m", instance.vcpus() * 10 * cpu_percent), "memory": format!("{}Gi", instance.memory_gb()) },
                "limits": { "memory": format!("{}Gi", instance.memory_gb()) },
            }),
            None => json!({}),
        },
        ComputeEntry::Gpu { count, .. } => json!({ "limits": { GPU: count.to_string() } }),
    }
}

/// Nodes with GPUs often keep everything else away.
fn tolerations(compute: &ComputeEntry) -> Value {
    let mut tolerations = soon_given_up();
    if let (ComputeEntry::Gpu { .. }, Some(list)) = (compute, tolerations.as_array_mut()) {
        list.push(json!({ "key": GPU, "operator": "Exists", "effect": "NoSchedule" }));
    }
    tolerations
}

/// Nodes with one of the worker type's GPU types, those it names first preferred. Where no node is labelled, none matches:
/// the label is set by NVIDIA's plugin or by hand.
fn affinity(platform: &PlatformSettings, compute: &ComputeEntry) -> Value {
    let ComputeEntry::Gpu { pools, types, .. } = compute else { return Value::Object(Map::new()) };
    let all = types.iter().chain(pools.iter().flat_map(|pool| pool.types()));
    let mut products: Vec<String> = Vec::new();
    for gpu in all {
        let own = platform.settings.gpu_products.get(gpu.id());
        let product = own.cloned().unwrap_or_else(|| gpu.id().replace(' ', "-"));
        if !products.contains(&product) {
            products.push(product);
        }
    }
    json!({ "nodeAffinity": { "requiredDuringSchedulingIgnoredDuringExecution": { "nodeSelectorTerms": [
        { "matchExpressions": [{ "key": GPU_LABEL, "operator": "In", "values": products }] },
    ] } } })
}

#[cfg(test)]
mod tests {
    use flash_protocol::manifest::WorkerType;
    use flash_target::EnvironmentId;

    use super::*;
    use crate::settings::ClusterSettings;

    fn platform(settings: ClusterSettings) -> PlatformSettings {
        PlatformSettings {
            id: EnvironmentId::new("api", "prod").unwrap(),
            name: "flash-api-prod-abc".to_owned(),
            namespace: "ml".to_owned(),
            root_uid: "uid".to_owned(),
            url: "http://10.0.0.1:8000".to_owned(),
            settings,
        }
    }

    fn spec(compute: &Value) -> PodSpec {
        let worker_type = json!({
            "name": "embed", "kind": "queue", "compute": compute, "workers_min": 0, "workers_max": 1,
            "idle_timeout_seconds": 60, "execution_timeout_seconds": 600, "max_concurrency": 1,
            "scaler": { "type": "queue_delay", "seconds": 4 },
        });
        let worker_type: WorkerType = serde_json::from_value(worker_type).unwrap();
        PodSpec {
            name: "embed-0a1b2c".to_owned(),
            worker_type,
            release: 7,
            image: "r/i@sha256:1".to_owned(),
            environment: vec![("FLASH_ROLE".to_owned(), "pod".to_owned())],
        }
    }

    #[test]
    fn a_cpu_worker_gets_what_its_instance_has() {
        let pod = worker_pod(
            &platform(ClusterSettings::default()),
            &spec(&json!({
                "type": "cpu", "instances": ["cpu3c-2-4"],
            })),
        );
        let container = &pod["spec"]["containers"][0];
        assert_eq!(container["resources"]["requests"], json!({ "cpu": "2000m", "memory": "4Gi" }));
        assert_eq!(pod["metadata"]["name"], "flash-api-prod-abc-embed-0a1b2c");
        assert_eq!(pod["metadata"]["labels"]["flash.dev/release"], "7");
        assert_eq!(pod["spec"]["affinity"], Value::Null);
        assert!(pod["spec"]["volumes"].is_null(), "an empty directory would stop drains");
    }

    #[test]
    fn a_gpu_worker_goes_to_nodes_with_its_gpus() {
        let settings = ClusterSettings {
            runtime_class: Some("nvidia".to_owned()),
            gpu_products: [("NVIDIA L4".to_owned(), "our-l4".to_owned())].into(),
            ..ClusterSettings::default()
        };
        let pod = worker_pod(
            &platform(settings),
            &spec(&json!({
                "type": "gpu", "pools": ["ADA_24"], "types": ["NVIDIA L4"], "count": 2,
            })),
        );
        let pod = &pod["spec"];
        assert_eq!(pod["containers"][0]["resources"]["limits"][GPU], "2");
        assert_eq!(pod["runtimeClassName"], "nvidia");
        let term = &pod["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"];
        let values = &term["nodeSelectorTerms"][0]["matchExpressions"][0]["values"];
        assert_eq!(values[0], "our-l4");
        assert!(values.as_array().unwrap().contains(&json!("NVIDIA-GeForce-RTX-4090")), "{values}");
        let tolerated = pod["tolerations"].as_array().unwrap();
        assert!(tolerated.iter().any(|own| own["key"] == GPU), "{tolerated:?}");
    }

    #[test]
    fn pods_fit_the_schemas_of_kubernetes() {
        let settings = ClusterSettings {
            runtime_class: Some("nvidia".to_owned()),
            priority_class: Some("low".to_owned()),
            pull_secret: Some("pull".to_owned()),
            ..ClusterSettings::default()
        };
        let gpu = json!({ "type": "gpu", "pools": ["ADA_24"], "types": [], "count": 1 });
        let cpu = json!({ "type": "cpu", "instances": ["cpu3c-2-4"] });
        let pods = [
            worker_pod(&platform(settings.clone()), &spec(&gpu)),
            worker_pod(&platform(settings), &spec(&cpu)),
        ];
        crate::schemas::check(&pods);
    }
}
