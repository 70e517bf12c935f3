//! Differences, checked against a model of how the API applies a change.
use proptest::prelude::*;

use super::*;
use crate::{
    fixtures::{WORKERS, there, wanted},
    rest::{CpuChoice, Flashboot},
};

/// The API's rules: fields that are present are replaced as a whole, and pools without exclusions clear them.
fn patched(there: &Endpoint, change: &UpdateEndpoint) -> Endpoint {
    let mut after = there.clone();
    let UpdateEndpoint { name, image, args, disk, env, ports, registry, gpu, cpu, workers, scaling, .. } =
        change.clone();
    after.name = name.unwrap_or(after.name);
    after.image = image.or(after.image);
    after.args = args.or(after.args);
    after.disk = disk.or(after.disk);
    after.env = env.or(after.env);
    after.ports = ports.or(after.ports);
    after.registry = registry.unwrap_or(after.registry);
    after.cpu = cpu.or(after.cpu);
    if let Some(gpu) = gpu {
        let before = after.gpu.take().unwrap_or_default();
        after.gpu = Some(GpuChoice {
            count: gpu.count.or(before.count),
            allowed_cuda_versions: gpu.allowed_cuda_versions.or(before.allowed_cuda_versions),
            min_cuda_version: match gpu.min_cuda_version {
                Some(floor) => Some(floor).filter(|floor| !floor.is_empty()),
                None => before.min_cuda_version,
            },
            pools: gpu.pools,
            excluded_types: gpu.excluded_types,
        });
    }
    if let Some(scaling) = scaling {
        after.scaling = scaling;
    }
    let has_idle = crate::desired::has_idle_timeout(after.kind.unwrap(), after.scaling);
    if let Some(workers) = workers {
        assert!(has_idle || workers.idle_timeout.is_none(), "422");
        after.workers.min = workers.min.or(after.workers.min);
        after.workers.max = workers.max.or(after.workers.max);
        after.workers.idle_timeout = workers.idle_timeout.or(after.workers.idle_timeout);
    }
    if !has_idle {
        after.workers.idle_timeout = None;
    }
    after.data_center_ids = change.data_center_ids.clone().unwrap_or(after.data_center_ids);
    after.network_volumes = change.network_volumes.clone().unwrap_or(after.network_volumes);
    after.timeout = change.timeout.unwrap_or(after.timeout);
    after.flashboot = change.flashboot.unwrap_or(after.flashboot);
    after
}

#[test]
fn an_endpoint_that_the_api_made_of_it_is_equal() {
    for worker in WORKERS {
        let wanted = wanted(worker);
        let mut there = there(&wanted, "e1");
        assert_eq!(difference(&there, &wanted), None);
        there.name.push_str(" -fb");
        there.env.as_mut().unwrap().insert(names::RELEASE.into(), "7".into());
        assert_eq!(difference(&there, &wanted), None, "{worker}");
    }
}

#[test]
fn a_release_that_is_not_built_changes_no_image() {
    let mut unbuilt = wanted("inference_worker");
    let there = there(&unbuilt, "e1");
    unbuilt.create.image.clear();
    assert_eq!(difference(&there, &unbuilt), None);
}

#[test]
fn exclusions_are_said_again_with_pools() {
    let mut wanted = wanted("inference_worker");
    let gpu = wanted.create.gpu.as_mut().unwrap();
    gpu.excluded_types = Some(vec!["NVIDIA L40".into()]);
    let mut there = there(&wanted, "e1");
    there.gpu.as_mut().unwrap().pools = vec!["AMPERE_80".into()];
    let gpu = difference(&there, &wanted).unwrap().gpu.unwrap();
    assert_eq!((gpu.pools.len(), gpu.excluded_types.map(|types| types.len())), (1, Some(1)));
}

#[test]
fn siblings_that_are_not_known_yet_stay() {
    let wanted = wanted("inference_worker");
    let mut there = there(&wanted, "e1");
    there.env.as_mut().unwrap().insert(variables::ENDPOINTS.into(), "{}".into());
    assert_eq!(difference(&there, &wanted), None);
    there.env.as_mut().unwrap().insert("OLD".into(), "1".into());
    let env = difference(&there, &wanted).unwrap().env.unwrap();
    assert!(env.contains_key(variables::ENDPOINTS) && !env.contains_key("OLD"), "{env:?}");
}

#[test]
fn neither_kind_nor_hardware_is_patched() {
    let wanted = wanted("inference_worker");
    let mut there = there(&wanted, "e1");
    there.gpu = None;
    there.cpu = Some(vec![CpuChoice { id: "cpu3g".into(), vcpu_count: 2 }]);
    assert_eq!(replacement(&there, &wanted), Some("from CPU to GPU"));
    assert_eq!(difference(&there, &wanted), None);
}

#[test]
fn values_of_variables_are_told_to_nobody() {
    let wanted = wanted("inference_worker");
    let mut there = there(&wanted, "e1");
    there.workers.max = Some(9);
    there.env.as_mut().unwrap().insert("FLASH_EXAMPLE_MODEL".into(), "hush".into());
    let ours =
        OwnEndpoints { by_worker: [("inference_worker".to_owned(), there)].into(), duplicates: vec![] };
    let all = changes(&ours, &[("inference_worker".to_owned(), wanted)].into());
    let fields: Vec<&str> = all.iter().map(|change| change.field.as_str()).collect();
    assert_eq!(fields, ["env.FLASH_EXAMPLE_MODEL", "workers.max"]);
    assert!(!format!("{all:?}").contains("hush"));
}

#[test]
fn addresses_are_those_told_else_those_documented() {
    let queue: Url = "https://api.runpod.ai/v2".parse().unwrap();
    let mut endpoint = there(&wanted("inference_worker"), "e1");
    assert_eq!(base_url(&endpoint, &queue), "https://api.runpod.ai/v2/e1");
    endpoint.request_urls = Some(super::super::rest::EndpointUrls {
        run: Some("https://eu.api.runpod.ai/v2/e1/run".into()),
        ..Default::default()
    });
    assert_eq!(base_url(&endpoint, &queue), "https://eu.api.runpod.ai/v2/e1");
    let balanced = there(&wanted("classify_pipeline"), "e2");
    assert_eq!(base_url(&balanced, &queue), "https://e2.api.runpod.ai");
}

#[test]
fn the_account_key_goes_to_no_other_host_whatever_an_answer_names() {
    let queue: Url = "https://api.runpod.ai/v2".parse().unwrap();
    let mut endpoint = there(&wanted("inference_worker"), "e1");
    let mut asked = |url: &str| {
        endpoint.request_urls = Some(super::super::rest::EndpointUrls {
            run: Some(format!("{url}/run")),
            health: Some(format!("{url}/health")),
            ..Default::default()
        });
        (base_url(&endpoint, &queue), health_url(&endpoint, &queue))
    };
    let usual = ("https://api.runpod.ai/v2/e1".to_owned(), "https://api.runpod.ai/v2/e1/health".to_owned());
    for elsewhere in [
        "http://api.runpod.ai/v2/e1",
        "https://api.runpod.ai:8443/v2/e1",
        "https://api.runpod.ai.example.com/v2/e1",
        "https://evilapi.runpod.ai/v2/e1",
        "https://api.runpod.ai@example.com/v2/e1",
        "https://someone@api.runpod.ai/v2/e1",
        "https://169.254.169.254/v2/e1",
        "file:///v2/e1",
        "//api.runpod.ai/v2/e1",
        "",
    ] {
        assert_eq!(asked(elsewhere), usual, "{elsewhere}");
    }
    let below = "https://e1.api.runpod.ai/v2/e1";
    assert_eq!(asked(below), (below.to_owned(), format!("{below}/health")));
}

prop_compose! {
    fn any_wanted()(
        worker in 0_usize..4,
        max in 1_u32..9,
        idle in 1_u32..60,
        requests in proptest::option::of(1_u32..9),
        image in "[a-c]{0,1}",
        value in proptest::option::of("[a-b]{1}"),
        centers in proptest::collection::vec("[A-C]{1}", 0..3),
        registry in proptest::option::of("[a-b]{1}"),
        excluded in proptest::option::of("[a-b]{1}"),
        (disk, count, timeout, vcpus) in (1_u32..4, 1_u32..3, 1_u64..4, 1_u32..3),
    ) -> Desired {
        let mut wanted = wanted(WORKERS[worker]);
        let create = &mut wanted.create;
        (create.image, create.registry, create.disk) = (image, registry, Some(disk));
        (create.timeout, create.data_center_ids) = (timeout * 1000, centers);
        if let Some(value) = value {
            create.env.insert("VALUE".into(), value);
        }
        if let Some(request_count) = requests {
            create.scaling = Scaling::RequestCount { request_count };
        }
        let has_idle = crate::desired::has_idle_timeout(create.kind, create.scaling);
        create.workers =
            WorkerRange { min: Some(0), max: Some(max), idle_timeout: has_idle.then_some(idle) };
        if let Some(gpu) = &mut create.gpu {
            (gpu.count, gpu.excluded_types) = (Some(count), excluded.map(|one| vec![one]));
        }
        if let Some(cpu) = &mut create.cpu {
            cpu[0].vcpu_count = vcpus * 2;
        }
        wanted
    }
}

proptest! {
    #[test]
    fn a_change_applied_leaves_nothing_to_change(
        before in any_wanted(),
        after in any_wanted(),
        by_hand in any::<bool>(),
    ) {
        let mut there = there(&before, "e1");
        if by_hand {
            there.flashboot = Flashboot::Off;
            if let Some(gpu) = &mut there.gpu {
                gpu.min_cuda_version = Some("12.8".into());
            }
        }
        let mut after = after;
        after.create.name.clone_from(&before.create.name);
        // Changes that the API cannot express are rejected earlier.
        prop_assume!(replacement(&there, &after).is_none());
        if let Some(change) = difference(&there, &after) {
            prop_assert!(!(change.gpu.is_some() && change.cpu.is_some()));
            prop_assert_eq!(difference(&patched(&there, &change), &after), None);
        }
        if !by_hand && before.create.image == after.create.image {
            prop_assert_eq!(difference(&there, &before), None);
        }
    }
}
