//! Hardware in the form of the provider's API.
use flash_protocol::{CpuInstance, GpuPool, GpuType, manifest::ComputeEntry};

use super::rest::{CpuChoice, GpuChoice};

/// The smallest number of vCPUs the API supports.
const LEAST_VCPUS: u32 = 2;

/// Hardware of an endpoint: exactly one of the two, as the API requires.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Hardware {
    Cpu(Vec<CpuChoice>),
    Gpu(GpuChoice),
}

/// What to request. `Err`: instances of which none can be made.
pub(crate) fn hardware(compute: &ComputeEntry) -> Result<Hardware, &[CpuInstance]> {
    match compute {
        ComputeEntry::Cpu { instances } => {
            let able = instances.iter().filter(|cpu| can_be_made(**cpu));
            let choices: Vec<CpuChoice> =
                able.map(|cpu| CpuChoice { id: cpu.flavor().to_owned(), vcpu_count: cpu.vcpus() }).collect();
            if choices.is_empty() { Err(instances) } else { Ok(Hardware::Cpu(choices)) }
        }
        ComputeEntry::Gpu { pools, types, count } => Ok(Hardware::Gpu(gpu(pools, types, *count))),
    }
}

/// Whether the API supports this size.
pub(crate) fn can_be_made(cpu: CpuInstance) -> bool {
    cpu.vcpus() >= LEAST_VCPUS
}

/// The smallest supported instance of the same flavor.
pub(crate) fn nearest_that_can_be_made(cpu: CpuInstance) -> CpuInstance {
    let same = CpuInstance::ALL.iter().copied().filter(|other| other.flavor() == cpu.flavor());
    same.filter(|other| can_be_made(*other)).min_by_key(|other| other.vcpus()).unwrap_or(cpu)
}

/// A GPU type is requested by its pool, excluding the pool's other types.
fn gpu(pools: &[GpuPool], types: &[GpuType], count: u32) -> GpuChoice {
    let mut all: Vec<GpuPool> = Vec::new();
    for pool in pools.iter().copied().chain(types.iter().map(|gpu| gpu.pool())) {
        if !all.contains(&pool) {
            all.push(pool);
        }
    }
    let for_types = all.iter().filter(|pool| !pools.contains(pool));
    let mut excluded: Vec<String> = for_types
        .flat_map(|pool| pool.types())
        .filter(|gpu| !types.contains(gpu))
        .map(|gpu| gpu.id().to_owned())
        .collect();
    excluded.sort();
    GpuChoice {
        pools: all.iter().map(|pool| pool.id().to_owned()).collect(),
        excluded_types: (!excluded.is_empty()).then_some(excluded),
        count: Some(count),
        allowed_cuda_versions: None,
        min_cuda_version: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_named_type_leaves_the_rest_of_its_pool_out() {
        let choice = gpu(&[GpuPool::Ada24], &[GpuType::L40s], 2);
        assert_eq!(choice.pools, ["ADA_24", "ADA_48_PRO"]);
        let others = ["NVIDIA L40", "NVIDIA RTX 6000 Ada Generation"].map(str::to_owned).to_vec();
        assert_eq!((choice.excluded_types, choice.count), (Some(others), Some(2)));
    }

    #[test]
    fn a_pool_named_as_a_whole_is_had_as_a_whole() {
        assert_eq!(gpu(&[GpuPool::Ampere48], &[GpuType::A40], 1).excluded_types, None);
    }

    #[test]
    fn instances_of_one_vcpu_are_no_choice() {
        let cpus = vec![CpuInstance::Cpu3g_1_4, CpuInstance::Cpu5c_4_8];
        let made = hardware(&ComputeEntry::Cpu { instances: cpus }).unwrap();
        assert_eq!(made, Hardware::Cpu(vec![CpuChoice { id: "cpu5c".into(), vcpu_count: 4 }]));
        assert_eq!(nearest_that_can_be_made(CpuInstance::Cpu3g_1_4), CpuInstance::Cpu3g_2_8);
    }
}
