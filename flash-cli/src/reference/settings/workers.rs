//! `[workers.NAME]`, and what settings of worker types have in common.
use flash_protocol::{
    ResourceConfig,
    manifest::{EndpointKind, WorkerType},
};

use super::Table;
use crate::reference::key::{
    Key, Limits,
    Limits::{OneOf, Range, Said},
};

/// A number of seconds with the upper limit of `#[remote]`.
pub(super) fn seconds(name: &'static str, most: u32, meaning: &'static str) -> Key {
    Key::new(name, "seconds", Range(1, most.into(), ""), meaning)
}

pub(super) const WORKERS: Limits = Said {
    text: "at most 1000",
    taken: &["\"0..=3\"", "\"1000..=1000\""],
    refused: &["\"0..=1001\"", "\"0..=0\"", "\"3..=1\"", "\"3\""],
};
pub(super) const SCALER: Limits = Said {
    text: "1 or more",
    taken: &["{ queue_delay = 1 }", "{ request_count = 1 }"],
    refused: &["{ queue_delay = 0 }", "{ request_count = 0 }", "{ requests = 1 }"],
};
pub(super) const SCALER_MEANING: &str = "`{ queue_delay = 4 }` (seconds) or `{ request_count = 4 }`";

pub(super) fn command_worker() -> Table {
    let mut keys = command();
    keys.extend(command_requests());
    Table {
        name: "[workers.NAME]",
        header: "[workers.a]",
        always: "command = [\"python3\", \"worker.py\"]",
        with_defaults: true,
        below: &[],
        keys,
    }
}

/// The keys of `[workers.NAME]` that are for each kind.
fn command() -> Vec<Key> {
    let usual = ResourceConfig::new("usual");
    vec![
        Key::new(
            "command",
            "list of strings",
            Said {
                text: "not empty",
                taken: &["[\"python3\", \"worker.py\"]"],
                refused: &["[]", "[\"\"]", "\"python3\""],
            },
            "program and arguments; with `image`, what replaces its entry point",
        )
        .default("required without `image`"),
        Key::new(
            "image",
            "string",
            Said {
                text: "the name of an image",
                taken: &["\"ghcr.io/me/worker:1\"", "\"redis\""],
                refused: &["\"\"", "\"Upper/Case\"", "[\"redis\"]"],
            },
            "an image instead of a program: [external images](external-images.md)",
        ),
        Key::new(
            "args",
            "list of strings",
            Said { text: "any", taken: &["[]", "[\"--port\", \"$PORT\"]"], refused: &["\"--port\""] },
            "the image's arguments, instead of its own",
        )
        .default("the image's")
        .requires("image = \"redis\""),
        Key::new("kind", "string", OneOf(&["queue", "load_balanced"]), "how requests reach it")
            .default("`\"queue\"`"),
        Key::new(
            "cpu",
            "string",
            Said {
                text: "a CPU instance",
                taken: &["\"cpu3c-1-2\"", "\"cpu3g-2-8\""],
                refused: &["\"cpu9\""],
            },
            "what it runs on; cannot be combined with `gpu`",
        )
        .default("`\"cpu3c-1-2\"`"),
        Key::new(
            "gpu",
            "string",
            Said {
                text: "a GPU pool or type",
                taken: &["\"ADA_24\"", "\"NVIDIA L4\""],
                refused: &["\"ADA_25\""],
            },
            "what it runs on",
        ),
        Key::new("gpu_count", "number", Range(1, ResourceConfig::MAX_GPUS.into(), ""), "GPUs per worker")
            .default(1)
            .requires("gpu = \"ADA_24\""),
        Key::new(
            "vram_gib",
            "number",
            Said { text: "1 to what the GPU has", taken: &["1", "24"], refused: &["0", "25"] },
            "GB of memory that a worker needs on each GPU: [sharing GPUs](limits.md#gpus)",
        )
        .default("a GPU of its own")
        .requires("gpu = \"ADA_24\""),
        Key::new("workers", "string", WORKERS, "`\"MIN..=MAX\"`, as in `#[remote]`")
            .default(format!("`\"{}..={}\"`", usual.workers_min, usual.workers_max)),
        seconds(
            "idle_timeout",
            ResourceConfig::MAX_IDLE_TIMEOUT,
            "time without work before a worker above the minimum stops",
        )
        .default(usual.idle_timeout),
        seconds(
            "execution_timeout",
            ResourceConfig::MAX_EXECUTION_TIMEOUT,
            "how long a job or request may run",
        )
        .default(usual.execution_timeout),
        seconds(
            "start_timeout",
            ResourceConfig::MAX_START_TIMEOUT,
            "how long a worker may take to become ready",
        )
        .default("420; 900 on Runpod"),
        Key::new("scaler", "table", SCALER, SCALER_MEANING).default("by kind"),
        Key::new(
            "buffer",
            "number",
            Range(0, ResourceConfig::MAX_WORKERS.into(), ""),
            "idle workers beyond what the load needs ([scaling](scaling.md#a-buffer))",
        )
        .default(usual.buffer),
        Key::new(
            "disk_gib",
            "number",
            Range(1, ResourceConfig::MAX_DISK.into(), ""),
            "GB of disk of a worker, for targets in a cloud",
        )
        .default("20 with a GPU, 10 per vCPU without"),
        Key::new(
            "shm_mib",
            "number",
            Range(1, ResourceConfig::MAX_SHM.into(), ""),
            "MiB of shared memory in a worker's container",
        )
        .default(64),
        Key::new(
            "env",
            "table",
            Said {
                text: "no names that the platform sets",
                taken: &["{ MODEL = \"large\" }"],
                refused: &["{ FLASH_ROLE = \"worker\" }", "{ PORT = \"80\" }", "{ MODEL = 1 }"],
            },
            "its environment variables",
        )
        .default("`{}`"),
        Key::new(
            "needs",
            "list of strings",
            Said { text: "names or paths of programs", taken: &["[\"ffmpeg\"]"], refused: &["[\"\"]"] },
            "programs that it starts itself: `flash run`, `flash doctor` and `flash deploy` say if this machine lacks one",
        )
        .default("`[]`"),
    ]
}

/// The keys of `[workers.NAME]` that only requests have a use for.
fn command_requests() -> [Key; 3] {
    const REQUIRES: &str = "kind = \"load_balanced\"";
    [
        Key::new(
            "max_concurrency",
            "number",
            Range(1, ResourceConfig::MAX_CONCURRENCY.into(), ""),
            "concurrent requests per worker; `load_balanced` only",
        )
        .default(EndpointKind::LoadBalanced.default_concurrency())
        .requires(REQUIRES),
        Key::new(
            "max_body_mib",
            "number",
            Range(1, ResourceConfig::MAX_BODY_MIB.into(), ""),
            "MiB of a request's body, and of an answer's; `load_balanced` only",
        )
        .default(format!("{} MB", WorkerType::DEFAULT_BODY_BYTES / 1_000_000))
        .requires(REQUIRES),
        seconds(
            "request_timeout",
            ResourceConfig::MAX_REQUEST_TIMEOUT,
            "until an answer is complete, or between two parts of a stream; `load_balanced` only",
        )
        .default(330)
        .requires(REQUIRES),
    ]
}
