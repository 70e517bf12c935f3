//! A GPU of a machine at one moment: for `flash status`, and for metrics.
use serde::{Deserialize, Serialize};

/// A GPU of this machine, which workers of all environments share.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GpuStatus {
    /// As in `CUDA_VISIBLE_DEVICES`.
    pub id: String,
    /// Such as `NVIDIA L4`.
    pub name: String,
    /// MiB of memory; `None` where the driver does not say.
    pub memory_mib: Option<u64>,
    /// MiB in use, by whatever program.
    pub used_mib: Option<u64>,
    /// MiB that workers were given, by `vram_gib` or their models.
    pub given_mib: u64,
    /// How much of the last moments it was busy, in percent.
    pub busy_percent: Option<u64>,
    /// Workers that have it.
    pub workers: u32,
}
