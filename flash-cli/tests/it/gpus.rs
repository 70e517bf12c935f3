//! GPUs of a machine, which a program in the place of `nvidia-smi` makes up.
use std::os::unix::fs::PermissionsExt as _;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{Client, Running, SOON, fixture, until};

/// One GPU that is sold with 24 GB, as the driver tells of it.
const NVIDIA_SMI: &str = r#"#!/bin/sh
case "$1" in
-L) echo "GPU 0: NVIDIA GeForce RTX 4090 (UUID: GPU-made-up)" ;;
*) echo "GPU-made-up, NVIDIA GeForce RTX 4090, 24564, 12, 7, 8.9" ;;
esac
"#;

/// A directory with such a program, and a `PATH` that begins with it.
fn machine_with_gpu() -> (TempDir, String) {
    let directory = TempDir::new().unwrap();
    let program = directory.path().join("nvidia-smi");
    std::fs::write(&program, NVIDIA_SMI).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:{}", directory.path().display(), std::env::var("PATH").unwrap());
    (directory, path)
}

fn is_waiting(line: &Value) -> bool {
    let text = line["text"].as_str().unwrap_or_default();
    line["worker_type"] == "sharer"
        && text.contains(
            "waits for a GPU: needs 12 GiB (`vram_gib`) of GPU memory: NVIDIA GeForce RTX 4090 (GPU-made-up) has 0.0 \
             GiB of 24.0 GiB free, 2 workers have 24.0 GiB",
        )
}

#[tokio::test]
async fn workers_share_a_gpu_by_memory_and_the_next_one_waits() {
    let (directory, path) = machine_with_gpu();
    let app = Running::start_with(&fixture(), &["--no-reload"], &[("PATH", &path)]);
    let (client, gate) = (Client::new(), directory.path().join("open"));
    let mut jobs = Vec::new();
    for _ in 0..3 {
        let input = json!({ "file": gate, "__flash": { "function": "given_after" } });
        let job = client.post(format!("{}/v2/sharer/run", app.url), json!({ "input": input })).await.json();
        jobs.push(job["id"].as_str().unwrap_or_else(|| panic!("{job}")).to_owned());
    }
    app.event("log", is_waiting);
    let text = client.get(format!("{}/metrics", app.url)).await.text;
    let metrics: Vec<&str> = text.lines().filter(|line| line.starts_with("flash_gpu")).collect();
    let labels = r#"{gpu="GPU-made-up",name="NVIDIA GeForce RTX 4090"}"#;
    for (name, value) in [
        ("memory_bytes", 24_564 << 20),
        ("memory_used_bytes", 12 << 20),
        ("memory_given_bytes", 24_564 << 20),
        ("workers", 2_u64),
    ] {
        assert!(metrics.contains(&format!("flash_gpu_{name}{labels} {value}").as_str()), "{metrics:?}");
    }
    assert!(metrics.contains(&format!("flash_gpu_utilization_ratio{labels} 0.07").as_str()), "{metrics:?}");
    std::fs::write(&gate, "").unwrap();
    for job in jobs {
        let done = until("the end of a job", SOON, async || {
            let status = client.get(status_url(&app.url, &job)).await.json();
            if status["status"] == "COMPLETED" { Ok(status) } else { Err(status.to_string()) }
        });
        assert_eq!(done.await["output"], "GPU-made-up");
    }
}

fn status_url(app: &str, job: &str) -> String {
    format!("{app}/v2/sharer/status/{job}")
}
