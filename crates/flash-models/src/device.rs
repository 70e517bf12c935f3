//! Where a model computes.
use candle_core::Device;

/// The first NVIDIA GPU if this program was built for one (feature `cuda`) and the machine has it, else the CPU.
pub(crate) fn device() -> Device {
    match Device::new_cuda(0) {
        Ok(device) => device,
        Err(error) => {
            if cfg!(feature = "cuda") {
                tracing::warn!("the model runs on the CPU, no GPU can be used: {error}");
            }
            Device::Cpu
        }
    }
}
