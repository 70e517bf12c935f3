//! `[environments.NAME]`, and its settings of worker types.
use flash_protocol::ResourceConfig;

use super::{
    Table,
    workers::{SCALER, SCALER_MEANING, WORKERS, seconds},
};
use crate::reference::key::{
    Key, Limits,
    Limits::{OneOf, Range, Said},
};

const DATA_CENTERS: Limits = Said {
    text: "such as `EU-RO-1`, each once; `target = \"runpod\"`",
    taken: &["[\"EU-RO-1\", \"US-KS-2\"]"],
    refused: &["[\"EU-XX-1\"]", "[\"EU-RO-1\", \"EU-RO-1\"]"],
};

pub(super) fn environment() -> Table {
    const RUNPOD: &str = "target = \"runpod\"";
    Table {
        name: "[environments.NAME]",
        header: "[environments.production]",
        always: "",
        with_defaults: true,
        below: &["variables", "workers", "kubernetes"],
        keys: vec![
            Key::new("target", "string", OneOf(&["local", "runpod", "kubernetes"]), "where the environment lives")
                .default("`\"local\"`"),
            Key::new(
                "listen",
                "string",
                Said {
                    text: "an IP address, or `\"localhost\"`",
                    taken: &["\"0.0.0.0\"", "\"::1\"", "\"localhost\""],
                    refused: &["\"here\"", "\"127.0.0.1:80\""],
                },
                "where it listens; read when the environment is created",
            )
            .default("`\"127.0.0.1\"`"),
            Key::new(
                "port",
                "number",
                Range(1, u16::MAX.into(), ""),
                "its port; read when the environment is created",
            )
            .default("a free port, then kept"),
            Key::new(
                "registry",
                "string",
                Said { text: "not empty", taken: &["\"ghcr.io/me/app\""], refused: &["\"\"", "\" \""] },
                "where images are pushed, for targets that pull them",
            ),
            Key::new(
                "data_centers",
                "list of strings",
                DATA_CENTERS,
                "where worker types may run that name no data centers themselves",
            )
            .default("anywhere")
            .requires(RUNPOD),
            Key::new(
                "network_volumes",
                "list of strings",
                Said {
                    text: "IDs, each once; `target = \"runpod\"`",
                    taken: &["[\"abc123\"]"],
                    refused: &["[\"a/b\"]", "[\"a\", \"a\"]"],
                },
                "network volumes of every worker, at `/runpod-volume`",
            )
            .default("`[]`")
            .requires(RUNPOD),
            Key::new(
                "registry_credential",
                "string",
                Said { text: "an ID; `target = \"runpod\"`", taken: &["\"abc123\""], refused: &["\"a/b\""] },
                "the login that the cloud uses to pull images",
            )
            .default("none: images are public")
            .requires(RUNPOD),
            Key::new(
                "webhook_networks",
                "list of strings",
                Said {
                    text: "addresses and CIDR notation; not with `target = \"runpod\"`",
                    taken: &["[\"10.0.0.0/8\", \"192.168.1.7\"]"],
                    refused: &["[\"10.0.0\"]", "[\"host\"]"],
                },
                "private networks that [webhooks](queue.md#webhooks) may reach; public addresses need no entry",
            )
            .default("`[]`"),
        ],
    }
}

pub(super) fn environment_worker() -> Table {
    let number = |name, most: u32, meaning| Key::new(name, "number", Range(1, most.into(), ""), meaning);
    let most_workers = ResourceConfig::MAX_WORKERS;
    Table {
        name: "[environments.NAME.workers.WORKER]",
        header: "[environments.production.workers.a]",
        always: "",
        with_defaults: false,
        below: &[],
        keys: vec![
            Key::new("workers", "string", WORKERS, "`\"MIN..=MAX\"`; cannot be combined with the next two"),
            Key::new(
                "workers_min",
                "number",
                Range(0, most_workers.into(), ", not above the maximum"),
                "workers kept running without load",
            ),
            number("workers_max", most_workers, "maximum number of workers"),
            seconds(
                "idle_timeout",
                ResourceConfig::MAX_IDLE_TIMEOUT,
                "time without work before a worker above the minimum stops",
            ),
            seconds(
                "execution_timeout",
                ResourceConfig::MAX_EXECUTION_TIMEOUT,
                "how long a job or request may run",
            ),
            seconds(
                "start_timeout",
                ResourceConfig::MAX_START_TIMEOUT,
                "how long a worker may take to become ready",
            ),
            number(
                "max_concurrency",
                ResourceConfig::MAX_CONCURRENCY,
                "jobs or requests per worker at once; not for a command of kind `queue`",
            ),
            Key::new("scaler", "table", SCALER, SCALER_MEANING),
            Key::new(
                "buffer",
                "number",
                Range(0, most_workers.into(), ""),
                "idle workers beyond what the load needs",
            ),
            Key::new(
                "cpu",
                "string or list",
                Said {
                    text: "CPU instances, each once",
                    taken: &["\"cpu3c-1-2\"", "[\"cpu3c-1-2\", \"cpu3g-2-8\"]"],
                    refused: &["[]", "\"cpu9\"", "[\"cpu3c-1-2\", \"cpu3c-1-2\"]"],
                },
                "in order of preference; cannot be combined with `gpu`",
            ),
            Key::new(
                "gpu",
                "string or list",
                Said {
                    text: "GPU pools and types, each once",
                    taken: &["\"ADA_24\"", "[\"ADA_24\", \"NVIDIA L4\"]"],
                    refused: &["[]", "\"ADA_25\"", "[\"ADA_24\", \"ADA_24\"]"],
                },
                "in order of preference",
            ),
            number(
                "gpu_count",
                ResourceConfig::MAX_GPUS,
                "GPUs per worker; without `gpu`, it applies to the GPUs that the code names",
            ),
            Key::new(
                "data_centers",
                "string or list",
                Said {
                    text: "such as `EU-RO-1`, each once",
                    taken: &["[]", "\"EU-RO-1\"", "[\"EU-RO-1\", \"US-KS-2\"]"],
                    refused: &["\"EU-XX-1\"", "[\"EU-RO-1\", \"EU-RO-1\"]"],
                },
                "where it may run; `[]`: anywhere",
            ),
            number("disk_gib", ResourceConfig::MAX_DISK, "GB of disk of a worker, for targets in a cloud"),
            number("shm_mib", ResourceConfig::MAX_SHM, "MiB of shared memory in a worker's container"),
            Key::new(
                "vram_gib",
                "number",
                Range(1, ResourceConfig::MAX_VRAM.into(), ", not above what its GPUs have"),
                "GB of memory that a worker needs on each GPU",
            ),
        ],
    }
}

pub(super) fn environment_kubernetes() -> Table {
    let name =
        |key: &'static str, meaning: &'static str| Key::new(key, "string", Limits::Any("\"name\""), meaning);
    Table {
        name: "[environments.NAME.kubernetes]",
        header: "[environments.production]\ntarget = \"kubernetes\"\n[environments.production.kubernetes]",
        always: "",
        with_defaults: true,
        below: &[],
        keys: vec![
            name("context", "the context of your kubeconfig").default("the current one"),
            name("namespace", "made if it is missing").default("that of the context"),
            name("storage_class", "of the volume with jobs, logs and costs").default("the cluster's"),
            Key::new("storage", "string", Limits::Any("\"10Gi\""), "the size of that volume")
                .default("`\"10Gi\"`"),
            name("pull_secret", "the secret by which nodes pull images").default("none"),
            name("runtime_class", "of workers with GPUs").default("the cluster's"),
            name("priority_class", "of workers").default("the cluster's"),
            name("service_account", "an existing account for the platform").default("one of its own"),
            name("host", "the host name of an Ingress").default("none"),
            Key::new(
                "cpu_request_percent",
                "number",
                Range(1, 100, ""),
                "how much of an instance's vCPUs a worker's pod requests",
            )
            .default("`100`"),
            Key::new(
                "gpu_products",
                "table",
                Limits::Any("{ \"NVIDIA L4\" = \"our-l4\" }"),
                "values of the node label `nvidia.com/gpu.product`, by GPU type",
            )
            .default("the type, with dashes for spaces"),
        ],
    }
}
