//! The example's table, to the cent, and what changes it.
use flash_protocol::{
    CpuInstance, GpuPool,
    catalogue::PriceList,
    manifest::{App, ComputeEntry, EndpointKind, FunctionEntry, Manifest, WorkerType},
};
use flash_target::{CallsFrom, Costs, FunctionCost};

use super::*;

fn worker(name: &str, kind: EndpointKind, compute: ComputeEntry, min: u32) -> WorkerType {
    WorkerType {
        name: name.to_owned(),
        kind,
        compute,
        workers_min: min,
        workers_max: 10,
        idle_timeout_seconds: 3,
        execution_timeout_seconds: 30,
        max_concurrency: 1,
        scaler: kind.default_scaler(),
        buffer: 0,
        lifetime: Default::default(),
        data_centers: Vec::new(),
        disk_gib: None,
        shm_mib: None,
        vram_gib: None,
        http: None,
        max_body_mib: None,
        request_timeout_seconds: None,
        model: None,
        start_timeout_seconds: None,
    }
}

fn function(name: &str, owner: Option<&str>, worker: &str) -> FunctionEntry {
    FunctionEntry {
        name: name.to_owned(),
        owner: owner.map(str::to_owned),
        module: "m".to_owned(),
        worker: worker.to_owned(),
        file: "src/main.rs".to_owned(),
        line: 1,
        docs: String::new(),
        route: None,
        arguments: Vec::new(),
        input: None,
        output: serde_json::Value::Bool(true),
        streams: false,
        settings: Default::default(),
        raw_body: false,
        body_type: None,
        headers: Vec::new(),
        raw_output: false,
        output_type: None,
    }
}

/// The manifest of `examples/03_mixed_workers`: worker types by name, functions by file.
fn example() -> Manifest {
    let cpu = |instance| ComputeEntry::Cpu { instances: vec![instance] };
    let gpu = ComputeEntry::Gpu { pools: vec![GpuPool::Ada24], types: Vec::new(), count: 1 };
    let queue = EndpointKind::Queue;
    Manifest {
        version: 1,
        app: App { name: "mixed-workers".to_owned(), version: "0.1.0".to_owned() },
        sdk_version: "0.1.0".to_owned(),
        workers: vec![
            worker("classify_pipeline", EndpointKind::LoadBalanced, cpu(CpuInstance::Cpu3c_1_2), 1),
            worker("inference_worker", queue, gpu, 0),
            worker("postprocess_worker", queue, cpu(CpuInstance::Cpu3g_2_8), 0),
            worker("preprocess_worker", queue, cpu(CpuInstance::Cpu3g_2_8), 0),
        ],
        functions: vec![
            function("preprocess_text", None, "preprocess_worker"),
            function("postprocess_results", None, "postprocess_worker"),
            function("classify", Some("Sentiment"), "inference_worker"),
            function("classify", None, "classify_pipeline"),
        ],
        definitions: serde_json::Map::new(),
    }
}

fn prices() -> PriceList {
    PriceList::with_overrides([("cpu3g-2-8", 0.0002), ("cpu3c-1-2", 0.0002), ("ADA_24", 0.0015)]).unwrap()
}

fn given(texts: &[&str]) -> Vec<Given> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

fn lines_for(manifest: &Manifest, texts: &[&str], requests: u64) -> Vec<String> {
    let stages = stages(manifest, &prices(), &given(texts)).unwrap();
    let left_out = left_out(manifest, &stages);
    let estimate = estimate(stages, requests, always_on(manifest, &prices()).unwrap());
    table::lines(&estimate, &left_out)
}

const TABLE: [&str; 11] = [
    "10,000 requests per day; 0.05 s preprocess, 0.2 s inference, 0.03 s postprocess:",
    "",
    "                              per day  per month (30 days)",
    "preprocess, CPU                 $0.10",
    "inference, GPU                  $3.00",
    "postprocess, CPU                $0.06",
    "mixed                           $3.16               $94.80",
    "GPU only (0.28 s at $0.0015)    $4.20              $126.00",
    "saved                           $1.04               $31.20",
    "",
    "not in the table, always on: classify_pipeline $17.28 per day",
];

#[test]
fn the_examples_table_is_exact_however_the_seconds_are_named() {
    let by_worker = ["inference_worker=0.2", "postprocess_worker=0.03", "preprocess_worker=0.05"];
    assert_eq!(lines_for(&example(), &by_worker, 10_000), TABLE);
    let by_function = ["preprocess_text=0.05s", "Sentiment::classify=0.2", "postprocess_results=0.03"];
    assert_eq!(lines_for(&example(), &by_function, 10_000), TABLE);
}

#[test]
fn history_gives_seconds_per_call_and_requests_per_day() {
    let function = |worker: &str, name: &str, calls, seconds| FunctionCost {
        day_ms: None,
        worker: worker.to_owned(),
        function: name.to_owned(),
        calls,
        cost: NanoDollars(0),
        seconds,
    };
    let costs = Costs {
        workers: Vec::new(),
        functions: vec![
            function("preprocess_worker", "preprocess_text", 5_000, 250.0),
            function("inference_worker", "Sentiment::classify", 5_000, 1_000.0),
            function("postprocess_worker", "postprocess_results", 5_000, 150.0),
            function("classify_pipeline", "POST /classify", 5_000, 2_000.0),
            function("gone_worker", "gone", 1, 1.0),
        ],
        calls: CallsFrom::Meter,
    };
    let half_a_day = 12 * 3600 * 1000;
    let measured = measured(&example(), &costs, half_a_day).unwrap();
    assert_eq!(measured.requests_per_day, 10_000);
    let stages = stages(&example(), &prices(), &measured.seconds).unwrap();
    let always_on = always_on(&example(), &prices()).unwrap();
    assert_eq!(table::lines(&estimate(stages, 10_000, always_on), &[]), TABLE);
    assert_eq!(super::measured(&example(), &Costs::default(), half_a_day), None);
}

#[test]
fn without_a_gpu_there_is_nothing_to_compare_with() {
    let lines = lines_for(&example(), &["preprocess_worker=0.05", "postprocess_worker=0"], 1_000);
    assert!(lines.iter().all(|line| !line.contains("GPU only") && !line.contains("saved")), "{lines:#?}");
    assert_eq!(lines.last().unwrap(), "not in the table, no seconds given: inference_worker");
}

#[test]
fn what_cannot_be_used_is_named() {
    let refused = |texts: &[&str]| stages(&example(), &prices(), &given(texts)).unwrap_err().to_string();
    let unknown = refused(&["inferense_worker=1"]);
    assert!(unknown.contains("`inferense_worker`; did you mean `inference_worker`"), "{unknown}");
    let twice = refused(&["preprocess_worker=1", "preprocess_worker=2"]);
    assert!(twice.contains("`preprocess_worker` are given twice"), "{twice}");
    for wrong in ["x", "x=", "=1", "x=-1", "x=nan", "x=1e9"] {
        assert!(wrong.parse::<Given>().unwrap_err().contains("NAME=SECONDS"), "{wrong}");
    }
}

#[test]
fn the_sum_of_cheap_requests_is_not_rounded_away() {
    // A tenth of a nanodollar each.
    assert_eq!(per_day(NanoDollars(1), Duration::from_millis(100), 10_000), NanoDollars(1_000));
}
