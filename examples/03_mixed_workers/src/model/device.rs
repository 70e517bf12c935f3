//! Where a model computes: the first CUDA device when program and machine have one, else the CPU.
//!
//! Without the feature `cuda` the answer is always the CPU and nothing of the machine is asked.
use candle_core::Device;

/// What a worker reports about the device its model runs on.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct DeviceInfo {
    /// `cpu` or `cuda:0`.
    pub device: &'static str,
    /// The GPU's name as its driver gives it; none on a CPU, or where the driver's tool is missing.
    pub gpu_name: Option<String>,
    /// The GPU's memory in GiB, to one decimal; none where the name is.
    pub gpu_memory_gb: Option<f64>,
}

/// A device to compute on, with its description.
#[derive(Debug, Clone)]
pub struct ComputeDevice {
    /// What tensors are made on.
    pub device: Device,
    /// What to tell about it.
    pub info: DeviceInfo,
}

impl ComputeDevice {
    /// The best device this program can use here.
    pub fn pick() -> Self {
        cuda().unwrap_or_else(Self::cpu)
    }

    /// The CPU, which is always there.
    pub fn cpu() -> Self {
        let info = DeviceInfo { device: "cpu", gpu_name: None, gpu_memory_gb: None };
        Self { device: Device::Cpu, info }
    }
}

#[cfg(not(feature = "cuda"))]
fn cuda() -> Option<ComputeDevice> {
    None
}

#[cfg(feature = "cuda")]
fn cuda() -> Option<ComputeDevice> {
    // Asked first because opening CUDA without a driver panics, and the panic's message would be the
    // first line of every CPU worker's log.
    if !nvidia::driver_is_present() {
        return None;
    }
    // A driver without its user library (a container started without GPU support) still panics.
    let opened = std::panic::catch_unwind(|| Device::new_cuda(0));
    let device = opened.ok()?.ok()?;
    let (gpu_name, gpu_memory_gb) = nvidia::describe().unzip();
    Some(ComputeDevice { device, info: DeviceInfo { device: "cuda:0", gpu_name, gpu_memory_gb } })
}

/// What only the driver and its command line tool know.
#[cfg_attr(not(feature = "cuda"), allow(dead_code, reason = "the parsing is tested in every build"))]
pub(super) mod nvidia {
    use std::{path::Path, process::Command};

    /// Whether the kernel offers an NVIDIA device; `dxg` is its name under WSL.
    pub(super) fn driver_is_present() -> bool {
        cfg!(not(target_os = "linux"))
            || ["/dev/nvidiactl", "/dev/dxg"].iter().any(|device| Path::new(device).exists())
    }

    /// Name and memory (GiB) of the GPU that CUDA calls the first.
    pub(super) fn describe() -> Option<(String, f64)> {
        let mut command = Command::new("nvidia-smi");
        command.args(["--query-gpu=name,memory.total", "--format=csv,noheader"]);
        // CUDA counts only the visible devices, the tool counts all.
        if let Some(first) = std::env::var("CUDA_VISIBLE_DEVICES").ok().as_deref().and_then(first_of) {
            command.arg(format!("--id={first}"));
        }
        let output = command.output().ok()?;
        output.status.success().then(|| parse(&String::from_utf8_lossy(&output.stdout)))?
    }

    fn first_of(visible: &str) -> Option<&str> {
        visible.split(',').map(str::trim).next().filter(|id| !id.is_empty())
    }

    /// Reads a line such as `NVIDIA H100 80GB HBM3, 81559 MiB`.
    pub(in crate::model) fn parse(output: &str) -> Option<(String, f64)> {
        let (name, memory) = output.lines().next()?.rsplit_once(',')?;
        let mebibytes: f64 = memory.trim().strip_suffix("MiB")?.trim().parse().ok()?;
        Some((name.trim().to_owned(), (mebibytes / 1024.0 * 10.0).round() / 10.0))
    }
}
