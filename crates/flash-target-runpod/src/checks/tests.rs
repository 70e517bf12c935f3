use super::*;
use crate::{
    desired::desired,
    fixtures::{WORKERS, id, spec, there, wanted},
};

fn offers() -> Account {
    let stock = |has| BTreeMap::from([("EU-RO-1".to_owned(), has), ("US-TX-3".to_owned(), true)]);
    let gpu =
        |id: &str, pool: &str| GpuOffer { id: id.into(), pool: Some(pool.into()), in_stock: stock(false) };
    let cpu = |id: &str| CpuOffer { id: id.into(), vcpus_min: 2, vcpus_max: 32, in_stock: stock(true) };
    Account {
        endpoints: Vec::new(),
        gpus: vec![gpu("NVIDIA GeForce RTX 4090", "ADA_24")],
        cpus: vec![cpu("cpu3c"), cpu("cpu3g")],
        data_centers: vec!["EU-RO-1".into(), "US-TX-3".into()],
        quota: Some(30),
    }
}

fn all(spec: &ReleaseSpec, account: &Account) -> Preflight {
    findings(spec, &desired(&id(), spec, 1).unwrap_or_default(), account)
}

#[test]
fn a_release_that_fits_has_no_problems() {
    let found = all(&spec(), &offers());
    assert_eq!(found.problems, []);
    assert_eq!(found.warnings.len(), 1, "the pipeline's time limit: {:?}", found.warnings);
}

#[test]
fn all_problems_are_told_at_once_and_each_with_a_fix() {
    let mut spec = spec();
    spec.cloud.data_centers = vec!["XX-1".into()];
    let mut account = Account { quota: Some(5), ..offers() };
    account.gpus[0].pool = Some("ADA_25".into());
    account.cpus.remove(0);
    let mut old = there(&wanted("preprocess_worker"), "e1");
    old.kind = Some(super::super::rest::EndpointType::LoadBalancer);
    account.endpoints.push(old);
    let problems = all(&spec, &account).problems;
    let text = problems.iter().map(|one| one.message.as_str()).collect::<Vec<_>>().join("\n");
    for part in ["data center `XX-1`", "pool `ADA_24`", "flavor `cpu3c`", "cannot change", "5 workers"] {
        assert!(text.contains(part), "{part} in\n{text}");
    }
    assert!(problems.iter().all(|problem| !problem.fix.is_empty()));
}

#[test]
fn other_endpoints_of_the_account_count_and_the_ones_replaced_do_not() {
    let mut account = Account { quota: Some(26), ..offers() };
    account.endpoints = WORKERS.map(|worker| there(&wanted(worker), worker)).into();
    assert_eq!(all(&spec(), &account).problems, []);
    let mut foreign = there(&wanted(WORKERS[0]), "f");
    foreign.name = "mine".into();
    account.endpoints.push(foreign);
    assert!(all(&spec(), &account).problems[0].message.contains("26 in addition to 3"));
}

#[test]
fn an_amount_of_memory_is_told_as_the_cheapest_pool_that_has_it() {
    let mut spec = spec();
    let of_pools = |pools: &[GpuPool]| ComputeEntry::Gpu { pools: pools.into(), types: Vec::new(), count: 1 };
    let warning = |spec: &ReleaseSpec| {
        let warnings = all(spec, &Account::default()).warnings;
        warnings.into_iter().find(|one| one.message.contains("the cheapest"))
    };
    spec.manifest.workers[1].compute = of_pools(GpuPool::with_memory(30));
    let told = warning(&spec).unwrap();
    assert!(told.message.contains("any GPU with 32 GB or more: AMPERE_48 is the cheapest"), "{told:?}");
    assert!(told.fix.contains("gpu = Ampere48"), "{told:?}");
    // A deliberate choice needs no warning.
    spec.manifest.workers[1].compute = of_pools(&[GpuPool::Ada24, GpuPool::Ampere24]);
    assert_eq!(warning(&spec), None);
}

#[test]
fn more_disk_than_an_instance_has_is_a_problem_and_shared_memory_a_warning() {
    let mut spec = spec();
    let worker = spec.manifest.workers.iter_mut().find(|worker| worker.name == "preprocess_worker").unwrap();
    (worker.disk_gib, worker.shm_mib) = (Some(20), Some(256));
    let found = all(&spec, &offers());
    assert_eq!(found.problems, []);
    let is_of_memory = |one: &&Finding| one.message.contains("256 MiB of shared memory");
    assert_eq!(found.warnings.iter().filter(is_of_memory).count(), 1, "{found:?}");
    let worker = spec.manifest.workers.iter_mut().find(|worker| worker.name == "preprocess_worker").unwrap();
    worker.disk_gib = Some(21);
    let told = &all(&spec, &offers()).problems;
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].message.contains("needs 21 GB of disk, but cpu3g-2-8 has at most 20 GB"), "{told:?}");
    let worker = spec.manifest.workers.iter_mut().find(|worker| worker.name == "inference_worker").unwrap();
    worker.disk_gib = Some(500);
    assert_eq!(all(&spec, &offers()).problems.len(), 1, "no limit is known for GPUs");
}

#[test]
fn what_the_scaler_there_cannot_do_is_said_in_a_line() {
    let mut spec = spec();
    spec.manifest.workers[1].buffer = 2;
    spec.manifest.workers[1].lifetime = Lifetime::OneJob;
    spec.manifest.workers[1].execution_timeout_seconds = 3 * 24 * 3600;
    let warnings = all(&spec, &offers()).warnings;
    let about = |part: &str| warnings.iter().find(|one| one.message.contains(part));
    assert!(about("no buffer of idle workers").unwrap().fix.contains("workers = 2..=3"), "{warnings:?}");
    assert!(about("deletes a job 86400 s after").unwrap().fix.contains("policy.ttl"), "{warnings:?}");
}

#[test]
fn events_that_another_worker_may_keep_are_told() {
    let mut spec = spec();
    let told = |spec: &ReleaseSpec| {
        let warnings = all(spec, &Account::default()).warnings.into_iter();
        warnings.filter(|one| one.message.contains("`replay`")).map(|one| one.message).collect::<Vec<_>>()
    };
    let worker = spec.manifest.workers[0].name.clone();
    let function: FunctionEntry = serde_json::from_value(serde_json::json!({
        "name": "report", "module": "main", "worker": worker, "file": "src/main.rs", "line": 1, "arguments": [],
        "output": {}, "streams": true, "settings": { "replay": 16 },
    }))
    .unwrap();
    spec.manifest.functions.push(function);
    spec.manifest.workers[0].workers_max = 2;
    assert!(told(&spec).concat().contains("`replay` of report"), "{:?}", told(&spec));
    spec.manifest.workers[0].workers_max = 1;
    assert_eq!(told(&spec), Vec::<String>::new());
}

#[test]
fn limits_beyond_those_of_the_load_balancer_are_told() {
    let mut spec = spec();
    let told = |spec: &ReleaseSpec| {
        let warnings = all(spec, &Account::default()).warnings.into_iter();
        let warnings = warnings.filter(|one| one.message.contains("load balancer"));
        warnings.map(|one| one.message).collect::<Vec<_>>()
    };
    let balanced = |worker: &&mut WorkerType| worker.kind == EndpointKind::LoadBalanced;
    let worker = spec.manifest.workers.iter_mut().find(balanced).unwrap();
    worker.execution_timeout_seconds = 30;
    (worker.request_timeout_seconds, worker.max_body_mib) = (Some(330), Some(28));
    assert_eq!(told(&spec), Vec::<String>::new());
    let worker = spec.manifest.workers.iter_mut().find(balanced).unwrap();
    (worker.request_timeout_seconds, worker.max_body_mib) = (Some(331), Some(29));
    let told = told(&spec);
    assert!(told.len() == 2 && told[0].contains("to 331 s") && told[1].contains("takes 30 MB"), "{told:?}");
}

#[test]
fn a_worker_that_needs_half_a_gpu_is_told_that_it_gets_a_whole_one() {
    let mut spec = spec();
    let mut told = |vram_gib| {
        let worker =
            spec.manifest.workers.iter_mut().find(|worker| worker.name == "inference_worker").unwrap();
        worker.vram_gib = vram_gib;
        let found = all(&spec, &offers()).warnings;
        found.into_iter().find(|one| one.message.contains("a whole GPU")).map(|one| one.message)
    };
    let expected = "`inference_worker` needs 8 GB of GPU memory, but on Runpod each worker has a whole GPU, of 24 GB or \
                    more";
    assert_eq!(told(Some(8)).as_deref(), Some(expected));
    assert_eq!((told(Some(13)), told(None)), (None, None));
}

#[test]
fn no_stock_where_workers_are_pinned_is_a_warning() {
    let mut spec = spec();
    spec.cloud.data_centers = vec!["EU-RO-1".into()];
    let found = all(&spec, &offers());
    let warning = found.warnings.iter().find(|one| one.message.contains("in stock")).unwrap();
    assert!(warning.message.contains("inference_worker"), "{warning:?}");
    assert!(warning.fix.contains("US-TX-3"), "{warning:?}");
    assert_eq!(found.problems, []);
}
