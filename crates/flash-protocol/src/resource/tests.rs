use super::*;

#[test]
fn an_amount_of_memory_chooses_pools() {
    const LARGE: ResourceConfig = ResourceConfig::new("w").vram_gib(100).gpu_count(2);
    let pools: &[GpuPool] = &[GpuPool::Hopper141, GpuPool::Blackwell180];
    assert_eq!(LARGE.compute, Some(Compute::Gpu { pools, types: &[], count: 2 }));
}

#[test]
#[should_panic(expected = "the largest pool, BLACKWELL_180, has 180 GB")]
fn more_memory_than_any_gpu_has_is_refused() {
    let _ = ResourceConfig::new("w").vram_gib(181);
}

#[test]
fn a_part_of_a_named_gpu_can_be_asked_for() {
    const SMALL: ResourceConfig = ResourceConfig::new("w").gpu(GpuPool::Ada24).vram_gib(8);
    assert_eq!(SMALL.vram_gib, Some(8));
    let pools: &[GpuPool] = &[GpuPool::Ada24];
    assert_eq!(SMALL.compute, Some(Compute::Gpu { pools, types: &[], count: 1 }));
}

#[test]
#[should_panic(expected = "has less memory than `vram_gib` says")]
fn more_memory_than_a_named_gpu_has_is_refused_in_either_order() {
    let _ = ResourceConfig::new("w").vram_gib(25).gpus(&[GpuPool::Ampere80], &[GpuType::L4]);
}

#[test]
fn builders_work_in_const_context() {
    const GPU: ResourceConfig = ResourceConfig::new("inference")
        .gpu(GpuPool::Ada24)
        .gpu_count(2)
        .workers(0..=3)
        .idle_timeout(5)
        .execution_timeout(120);
    assert_eq!(GPU.compute, Some(Compute::Gpu { pools: &[GpuPool::Ada24], types: &[], count: 2 }));
    assert_eq!((GPU.workers_min, GPU.workers_max, GPU.execution_timeout), (0, 3, 120));
}

#[test]
fn a_task_has_a_worker_for_each_job_and_a_day() {
    const TASK: ResourceConfig = ResourceConfig::new("w").cpu(CpuInstance::Cpu3c_1_2).task().workers(0..=9);
    assert_eq!((TASK.lifetime, TASK.max_concurrency, TASK.workers_max), (Lifetime::OneJob, Some(1), 9));
    assert_eq!((TASK.scaler, TASK.execution_timeout), (Some(Scaler::RequestCount { requests: 1 }), 86_400));
    assert_eq!(TASK.execution_timeout(5).execution_timeout, 5);
}

#[test]
#[should_panic(expected = "the minimum is 0")]
fn a_task_with_waiting_workers_is_refused() {
    let _ = ResourceConfig::new("w").workers(1..=2).task();
}

#[test]
fn every_instance_can_be_chosen_alone() {
    for cpu in CpuInstance::ALL {
        let chosen = ResourceConfig::new("w").cpu(*cpu).compute;
        assert!(matches!(chosen, Some(Compute::Cpu([only])) if only == cpu));
    }
    for pool in GpuPool::ALL {
        let chosen = ResourceConfig::new("w").gpu(*pool).compute;
        assert!(matches!(chosen, Some(Compute::Gpu { pools: [only], .. }) if only == pool));
    }
}

#[test]
#[should_panic(expected = "CPU or GPU, not both")]
fn cpu_and_gpu_together_are_refused() {
    let _ = ResourceConfig::new("w").cpu(CpuInstance::Cpu3c_1_2).gpu(GpuPool::Ada24);
}

#[test]
#[should_panic(expected = "minimum number of workers is above")]
#[allow(clippy::reversed_empty_ranges, reason = "the mistake under test")]
fn minimum_over_maximum_is_refused() {
    let _ = ResourceConfig::new("w").workers(3..=1);
}

#[test]
#[should_panic(expected = "a letter, then")]
fn a_name_with_a_slash_is_refused() {
    let _ = ResourceConfig::new("a/b");
}
