//! Whether a model fits into the memory of the hardware that its worker type asks for.
use flash_protocol::manifest::{ComputeEntry, WorkerType};

/// A warning if the files of a model are larger than the memory of a worker of this type, on the smallest hardware that it
/// may get. Whether all of them are loaded, only the code knows.
pub(super) fn too_large(reference: &str, bytes: u64, worker: &WorkerType) -> Option<String> {
    let (gigabytes, what) = match &worker.compute {
        ComputeEntry::Cpu { instances } => {
            let least = instances.iter().min_by_key(|cpu| cpu.memory_gb())?;
            (least.memory_gb(), format!("`{}` has {} GB of memory", least.id(), least.memory_gb()))
        }
        ComputeEntry::Gpu { pools, types, count } => {
            let vram = pools.iter().map(|pool| pool.vram_gb()).chain(types.iter().map(|gpu| gpu.vram_gb()));
            let all = vram.min()?.saturating_mul(*count);
            (all, format!("its GPUs have {all} GB of memory"))
        }
    };
    let size = bytes as f64 / 1e9;
    (size > f64::from(gigabytes)).then(|| {
        format!(
            "the model `{reference}` of worker type `{}` has {size:.1} GB, but {what}: name the files that it loads in \
             `files`, or choose larger hardware",
            worker.name
        )
    })
}

#[cfg(test)]
mod tests {
    use flash_protocol::{CpuInstance, GpuPool};

    use super::*;
    use crate::deploy::fixtures;

    #[test]
    fn a_model_over_the_memory_of_the_smallest_hardware_is_named_with_both_sizes() {
        let mut worker = fixtures::manifest().workers.remove(0);
        worker.compute =
            ComputeEntry::Cpu { instances: vec![CpuInstance::Cpu3g_2_8, CpuInstance::Cpu3c_1_2] };
        assert_eq!(too_large("org/m", 2_000_000_000, &worker), None);
        let said = too_large("org/m", 2_100_000_000, &worker).unwrap();
        assert!(said.contains("`org/m` of worker type `batch` has 2.1 GB"), "{said}");
        assert!(said.contains("`cpu3c-1-2` has 2 GB of memory"), "{said}");
        worker.compute = ComputeEntry::Gpu { pools: vec![GpuPool::Ada24], types: Vec::new(), count: 2 };
        assert_eq!(too_large("org/m", 47_000_000_000, &worker), None);
        assert!(too_large("org/m", 49_000_000_000, &worker).unwrap().contains("48 GB of memory"));
    }
}
