//! Where a model computes: on the first CUDA device, or on the CPU.
//!
//! A program built without the feature `cuda`, a machine without a driver and a driver without a GPU are all
//! the same here: candle gives an error for the device. Whether that ends the worker is the user's choice.
use std::str::FromStr;

use candle_core::Device;

use super::ModelError;

/// Which device to take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DeviceChoice {
    /// A GPU where one can be used, else the CPU.
    #[default]
    Auto,
    /// A GPU or none: a worker that is paid for as one must not compute on a CPU unnoticed.
    Cuda,
    /// The CPU, also beside a GPU.
    Cpu,
}

impl FromStr for DeviceChoice {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "auto" => Ok(Self::Auto),
            "cuda" => Ok(Self::Cuda),
            "cpu" => Ok(Self::Cpu),
            _ => Err(()),
        }
    }
}

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
    /// The device that is chosen.
    ///
    /// # Errors
    /// When a GPU must be used and none can be.
    pub fn choose(choice: DeviceChoice) -> Result<Self, ModelError> {
        match choice {
            DeviceChoice::Cpu => Ok(Self::cpu()),
            DeviceChoice::Cuda => Self::cuda(),
            DeviceChoice::Auto => Ok(Self::cuda().unwrap_or_else(|_| Self::cpu())),
        }
    }

    /// The CPU, which is always there.
    pub fn cpu() -> Self {
        let info = DeviceInfo { device: "cpu", gpu_name: None, gpu_memory_gb: None };
        Self { device: Device::Cpu, info }
    }

    fn cuda() -> Result<Self, ModelError> {
        let device = Device::new_cuda(0).map_err(|source| ModelError::NoGpu { source })?;
        let (gpu_name, gpu_memory_gb) = nvidia::describe().unzip();
        Ok(Self { device, info: DeviceInfo { device: "cuda:0", gpu_name, gpu_memory_gb } })
    }
}

/// What only the driver's command line tool knows.
pub(super) mod nvidia {
    use std::process::Command;

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
