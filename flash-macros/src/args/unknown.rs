//! The message for an unknown setting.
use flash_text::similar_names;
use syn::Ident;

use super::keys::Key;

/// Names of settings in other systems, each with the setting here.
const ELSEWHERE: &[(&[&str], Key)] = &[
    (
        &[
            "timeout",
            "timeout_seconds",
            "timeout_secs",
            "max_runtime",
            "max_duration",
            "job_timeout",
            "deadline",
        ],
        Key::ExecutionTimeout,
    ),
    (
        &["startup_timeout", "init_timeout", "cold_start_timeout", "load_timeout", "ready_timeout"],
        Key::StartTimeout,
    ),
    (
        &[
            "keep_alive",
            "keep_warm",
            "scaledown_window",
            "scale_down_after",
            "container_idle_timeout",
            "idle",
        ],
        Key::IdleTimeout,
    ),
    (
        &[
            "min_workers",
            "max_workers",
            "worker_count",
            "num_workers",
            "num_replicas",
            "workers_min",
            "workers_max",
            "min",
            "max",
            "scale",
            "replicas",
            "instances",
            "min_instances",
            "max_instances",
            "min_containers",
            "max_containers",
        ],
        Key::Workers,
    ),
    (&["gpus", "accelerator", "device", "gpu_pool", "gpu_pools", "gpu_group"], Key::Gpu),
    (&["gpu_type", "gpu_name", "gpu_model"], Key::GpuTypes),
    (&["vram", "vram_gb", "gpu_memory", "gpu_ram", "gpu_vram"], Key::VramGib),
    (&["cpus", "vcpu", "vcpus", "cores", "memory", "memory_gb", "memory_mb", "ram", "instance"], Key::Cpu),
    (
        &["concurrency", "max_concurrent", "concurrent", "max_inputs", "allow_concurrent_inputs"],
        Key::MaxConcurrency,
    ),
    (&["region", "regions", "zone", "location", "locations", "datacenter", "datacenters"], Key::DataCenters),
    (
        &["disk", "disk_gb", "disk_size", "container_disk", "container_disk_gb", "ephemeral_disk", "storage"],
        Key::DiskGib,
    ),
    (&["shm", "shm_size", "shm_gb", "shm_mb", "shared_memory"], Key::ShmMib),
    (&["model_id", "model_name", "hf_model", "weights", "model_path", "checkpoint"], Key::Model),
    (&["model_files", "allow_patterns", "include", "patterns"], Key::Files),
    (&["buffer_containers", "buffer_workers", "spare", "spare_workers", "headroom"], Key::Buffer),
    (&["one_shot", "single_use", "single_use_containers", "refresh_worker", "fresh", "batch"], Key::Task),
    (&["name", "endpoint", "worker_name", "worker_type"], Key::Worker),
    (&["retry", "max_retries", "attempts", "max_attempts", "retry_policy"], Key::Retries),
    (&["retry_on", "retry_for", "retry_when", "retry_exceptions", "autoretry_for"], Key::RetryIf),
    (&["cron", "every", "period", "interval", "crontab"], Key::Schedule),
    (&["tz", "time_zone"], Key::Timezone),
    (&["catchup", "catch_up", "misfire"], Key::Missed),
    (&["retry_delay", "retry_backoff", "backoff_seconds", "initial_delay", "max_delay"], Key::Backoff),
];

/// Suggests the setting that was probably meant.
pub(super) fn message(name: &Ident, keys: &[Key]) -> String {
    let written = name.to_string();
    let elsewhere =
        ELSEWHERE.iter().find(|(names, key)| names.contains(&written.as_str()) && keys.contains(key));
    if let Some((_, key)) = elsewhere {
        let hint = match (key, written.as_str()) {
            (Key::Cpu, "memory" | "memory_gb" | "memory_mb" | "ram") => {
                "; memory comes with the instance type: `Cpu3g_2_8` has 2 vCPUs and 8 GB"
            }
            (Key::Workers, _) => " (minimum to maximum)",
            _ => "",
        };
        return format!("unknown setting `{name}`: write `{}`{hint}", key.form());
    }
    match similar_names(&written, keys.iter().map(|key| key.name())).first() {
        Some(near) => format!("unknown setting `{name}`: did you mean `{near}`?"),
        None => {
            let known: Vec<_> = keys.iter().map(|key| format!("`{}`", key.name())).collect();
            format!("unknown setting `{name}`: expected one of {}", known.join(", "))
        }
    }
}
