//! `[run]` and `[build]`.
use flash_target::RuntimeSettings;

use super::Table;
use crate::{
    project::BuildSettings,
    reference::key::{
        Key,
        Limits::{Any, OneOf, Range, Said},
    },
};

pub(super) fn run() -> Table {
    let usual = RuntimeSettings::default();
    Table {
        name: "[run]",
        header: "[run]",
        always: "",
        with_defaults: true,
        below: &[],
        keys: vec![
            Key::new(
                "host",
                "string",
                Said {
                    text: "an address of this machine",
                    taken: &["\"localhost\"", "\"0.0.0.0\""],
                    refused: &["1"],
                },
                "where `flash run` listens",
            )
            .default("`\"localhost\"`"),
            Key::new(
                "port",
                "number",
                Range(0, u16::MAX.into(), "; 0: any free port"),
                "the port of `flash run`",
            )
            .default("8888, or one of the next 20"),
            Key::new(
                "allow_hosts",
                "list of host names",
                Said {
                    text: "`\"*.NAME\"`: everything below `NAME`",
                    taken: &["[\"hello.test\", \"*.hello.test\"]"],
                    refused: &["\"hello.test\""],
                },
                "other host names that `flash run` answers to [without a key](run.md#who-may-ask)",
            )
            .default("`[]`"),
            Key::new(
                "drain_seconds",
                "seconds",
                Said { text: "", taken: &["0", "3600"], refused: &["-1", "\"10\""] },
                "how long running work may take to finish at shutdown; also in deployments",
            )
            .default(usual.drain_seconds),
            Key::new(
                "ping_timeout",
                "seconds",
                Said {
                    text: "0 (never), 3 to 3600",
                    taken: &["0", "3", "3600"],
                    refused: &["1", "2", "3601"],
                },
                "how long a worker that pings may be silent; also in deployments",
            )
            .default(usual.ping_timeout_seconds),
            Key::new(
                "stop_grace_ms",
                "milliseconds",
                Range(10, 600_000, ""),
                "how long a stopped job may hold its worker; also in deployments",
            )
            .default(usual.stop_grace_ms),
            Key::new(
                "limits",
                "boolean",
                Any("false"),
                "hold workers to the CPU time and memory of their instance; also in deployments",
            )
            .default(format!("`{}`", usual.limits)),
            Key::new(
                "keep_releases",
                "number",
                Range(1, 100, ""),
                "how many releases of a deployment you can roll back to",
            )
            .default(usual.keep_releases),
            Key::new("features", "list of strings", Any("[\"large\"]"), "cargo features of `flash run`")
                .default("`[]`"),
            Key::new(
                "container",
                "string",
                OneOf(&["podman", "docker"]),
                "the engine of `flash run --image`",
            )
            .default("podman, else docker"),
            Key::new(
                "container_global_args",
                "list of strings",
                Any("[\"--debug\"]"),
                "engine arguments before the subcommand",
            )
            .default("`[]`"),
            Key::new(
                "container_args",
                "list of strings",
                Any("[\"--memory=1g\"]"),
                "engine arguments for each container",
            )
            .default("`[]`"),
        ],
    }
}

pub(super) fn build() -> Table {
    let usual = BuildSettings::default();
    Table {
        name: "[build]",
        header: "[build]",
        always: "",
        with_defaults: true,
        below: &["workers"],
        keys: vec![
            Key::new(
                "include",
                "list of patterns",
                Said {
                    text: "relative to the crate; `.env` is never included",
                    taken: &["[\"models/**\"]"],
                    refused: &["\"models/**\""],
                },
                "files that workers find in their directory",
            )
            .default("`[]`"),
            Key::new("features", "list of strings", Any("[\"large\"]"), "cargo features of every binary")
                .default("`[]`"),
            Key::new(
                "target_cpu",
                "string",
                Said {
                    text: "as `rustc --print target-cpus`",
                    taken: &["\"x86-64-v2\""],
                    refused: &["[\"x86-64-v2\"]"],
                },
                "the CPU that the binary may require",
            )
            .default("`x86-64-v3`; on ARM any"),
            Key::new(
                "max_size_mb",
                "number",
                Range(1, u64::MAX, ""),
                "a larger image, compressed, is an error",
            )
            .default(usual.max_size_mb),
            Key::new(
                "user",
                "string",
                Said {
                    text: "a number, or two with a colon",
                    taken: &["\"1000\"", "\"1000:1000\""],
                    refused: &["\"root\"", "\"1000:\"", "1000"],
                },
                "the user that workers run as in an image",
            )
            .default(format!("`\"{}\"`", usual.user)),
            Key::new(
                "cuda",
                "string",
                OneOf(&["when_available", "require", "never"]),
                "whether GPU worker types are built with CUDA",
            )
            .default("`\"when_available\"`"),
            Key::new("cuda_feature", "string", Any("\"gpu\""), "the cargo feature of their binaries")
                .default(format!("`\"{}\"`", usual.cuda_feature)),
            Key::new(
                "cuda_base",
                "string",
                Said {
                    text: "an image name",
                    taken: &["\"nvidia/cuda:12.8.1-base-ubuntu24.04\""],
                    refused: &["\"Not A Name\""],
                },
                "the base image of images with CUDA",
            )
            .default("depends on the version of `flash`"),
            Key::new("cuda_home", "path", Any("\"/usr/local/cuda\""), "where CUDA's compiler is")
                .default("searched for"),
        ],
    }
}

pub(super) fn build_worker() -> Table {
    Table {
        name: "[build.workers.NAME]",
        header: "[build.workers.a]",
        always: "",
        with_defaults: true,
        below: &[],
        keys: vec![
            Key::new(
                "include",
                "list of patterns",
                Said { text: "as above", taken: &["[\"models/**\"]", "[]"], refused: &["\"models/**\""] },
                "replaces that of `[build]`",
            )
            .default("that of `[build]`"),
            Key::new(
                "target_cpu",
                "string",
                Said { text: "as above", taken: &["\"x86-64-v2\""], refused: &["[\"x86-64-v2\"]"] },
                "replaces that of `[build]`",
            )
            .default("that of `[build]`"),
            Key::new(
                "compute_capabilities",
                "list of strings",
                Said {
                    text: "such as `\"8.9\"`",
                    taken: &["[\"8.9\", \"12.0\"]"],
                    refused: &["[\"ada\"]", "[8.9]"],
                },
                "the GPUs that its binary is compiled for",
            )
            .default("those of its GPUs"),
            Key::new(
                "base",
                "string",
                Said {
                    text: "an image name; not with CUDA",
                    taken: &["\"debian:12-slim\""],
                    refused: &["\"debian:12 slim\""],
                },
                "the [base image](build.md#a-base-image) of its image",
            )
            .default("none"),
            Key::new(
                "needs",
                "list of strings",
                Said {
                    text: "names or paths of programs",
                    taken: &["[\"ffmpeg\", \"/usr/bin/sox\"]"],
                    refused: &["[\"\"]", "[\"bin/\"]"],
                },
                "programs that it starts: looked for in its image by `flash build`, on this machine by `flash run`, \
                 `flash doctor` and `flash deploy`",
            )
            .default("`[]`"),
        ],
    }
}
