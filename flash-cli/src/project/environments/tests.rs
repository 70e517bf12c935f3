use std::path::Path;

use flash_protocol::{
    CpuInstance, GpuPool, Lifetime,
    manifest::{App, ComputeEntry, ScalerEntry, WorkerType},
};
use serde_json::Map;

use super::*;
use crate::project::Config;

fn app() -> Manifest {
    let worker = |name: &str, compute| WorkerType {
        name: name.to_owned(),
        kind: EndpointKind::Queue,
        compute,
        workers_min: 0,
        workers_max: 3,
        idle_timeout_seconds: 5,
        execution_timeout_seconds: 600,
        max_concurrency: 1,
        scaler: ScalerEntry::QueueDelay { seconds: 4 },
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
    };
    Manifest {
        version: 1,
        app: App { name: "app".to_owned(), version: "1.0.0".to_owned() },
        sdk_version: "0.1.0".to_owned(),
        workers: vec![
            worker("batch", ComputeEntry::Cpu { instances: vec![CpuInstance::Cpu3c_1_2] }),
            worker("model", ComputeEntry::Gpu { pools: vec![GpuPool::Ada24], types: Vec::new(), count: 1 }),
        ],
        functions: Vec::new(),
        definitions: Map::new(),
    }
}

/// The manifest in the environment `a` of this file, or the error.
fn applied(text: &str) -> Result<Manifest, String> {
    applied_to(text, &app())
}

fn applied_to(text: &str, app: &Manifest) -> Result<Manifest, String> {
    let config = Config::parse(text, Path::new("flash.toml")).map_err(|error| error.to_string())?;
    config.manifest_in(config.environment("a").unwrap(), app).map_err(|error| error.to_string())
}

/// The error for these lines below `[environments.a.workers.model]`, which is line 1.
fn refused(lines: &str) -> String {
    applied(&format!("[environments.a.workers.model]\n{lines}\n")).unwrap_err()
}

#[test]
fn every_setting_of_an_environment_is_read() {
    let text = "[environments.a]\ntarget = \"runpod\"\nlisten = \"0.0.0.0\"\nport = 8001\n\
                registry = \"ghcr.io/me\"\n[environments.a.variables]\nMODE = \"fast\"\n[environments.b]\n";
    let config = Config::parse(text, Path::new("flash.toml")).unwrap();
    let a = config.environment("a").unwrap();
    assert_eq!(
        (a.target, a.port, a.registry.as_deref()),
        (TargetKind::Runpod, Some(8001), Some("ghcr.io/me"))
    );
    assert_eq!(a.listen, Some(IpAddr::from([0, 0, 0, 0])));
    assert_eq!(a.variables.get("MODE").map(String::as_str), Some("fast"));
    assert_eq!(config.environment("b"), Some(&EnvironmentSettings::of("b", TargetKind::Local)));
    assert_eq!(config.environments().len(), 2);
}

#[test]
fn where_a_cloud_places_workers_is_read() {
    let text = "[environments.a]\ntarget = \"runpod\"\ndata_centers = [\"EU-RO-1\", \"US-TX-3\"]\n\
                network_volumes = [\"vol1\"]\nregistry_credential = \"cred1\"\n";
    let config = Config::parse(text, Path::new("flash.toml")).unwrap();
    let cloud = &config.environment("a").unwrap().cloud;
    assert_eq!(cloud.data_centers, ["EU-RO-1", "US-TX-3"]);
    assert_eq!(cloud.network_volumes, ["vol1"]);
    assert_eq!(cloud.registry_credential.as_deref(), Some("cred1"));
}

#[test]
fn every_setting_of_a_worker_type_can_be_another_one() {
    let manifest = applied(
        "[environments.a.workers.model]\nworkers = \"1..=2\"\nidle_timeout = 7\nexecution_timeout = 8\n\
         max_concurrency = 9\nscaler = { request_count = 10 }\ngpu = [\"ADA_24\", \"HOPPER_141\"]\ngpu_count = 2\n\
         data_centers = [\"EU-RO-1\"]\ndisk_gib = 64\nshm_mib = 512\nvram_gib = 20\n[environments.a.workers.batch]\nworkers_min = 1\nworkers_max = 5\n\
         cpu = \"cpu3g-2-8\"\n",
    )
    .unwrap();
    let (batch, model) = (manifest.worker("batch").unwrap(), manifest.worker("model").unwrap());
    assert_eq!((batch.workers_min, batch.workers_max), (1, 5));
    assert_eq!(batch.compute.label(), "CPU cpu3g-2-8");
    assert_eq!((model.workers_min, model.workers_max, model.idle_timeout_seconds), (1, 2, 7));
    assert_eq!((model.execution_timeout_seconds, model.max_concurrency), (8, 9));
    assert_eq!(model.scaler, ScalerEntry::RequestCount { requests: 10 });
    assert_eq!(model.compute.label(), "GPU 2 × ADA_24|HOPPER_141");
    assert_eq!(model.data_centers.len(), 1);
    assert_eq!((model.disk_gib, model.shm_mib, model.vram_gib), (Some(64), Some(512), Some(20)));
    assert_eq!((batch.disk_gib, batch.shm_mib, batch.vram_gib), (None, None, None));
    // Settings that are not set come from the app.
    assert_eq!((batch.idle_timeout_seconds, batch.max_concurrency), (5, 1));
}

#[test]
fn commands_are_worker_types_of_the_environment_too() {
    let text =
        "[workers.script]\ncommand = [\"python3\"]\n[environments.a.workers.script]\nworkers_max = 1\n";
    let manifest = applied(text).unwrap();
    assert_eq!(manifest.worker("script").unwrap().workers_max, 1);
    let error = applied(&text.replace("workers_max = 1", "max_concurrency = 2")).unwrap_err();
    assert!(error.starts_with("flash.toml:3: `max_concurrency` requires"), "{error}");
}

#[test]
fn a_gpu_count_alone_is_of_the_gpus_that_the_app_names() {
    let manifest = applied("[environments.a.workers.model]\ngpu_count = 4\n").unwrap();
    assert_eq!(manifest.worker("model").unwrap().compute.label(), "GPU 4 × ADA_24");
    let error = applied("[environments.a.workers.batch]\ngpu_count = 4\n").unwrap_err();
    assert!(error.starts_with("flash.toml:2: `batch` runs on a CPU"), "{error}");
}

#[test]
fn a_buffer_differs_and_a_task_keeps_to_its_form() {
    let batch = "[environments.a.workers.batch]\n";
    let manifest = applied(&format!("{batch}buffer = 2\n")).unwrap();
    assert_eq!(manifest.worker("batch").unwrap().buffer, 2);
    let over = applied(&format!("{batch}buffer = 1001\n")).unwrap_err();
    assert!(over.starts_with("flash.toml:2: `buffer` is 1001; expected 0 to 1000"), "{over}");
    let on_task = |lines: &str| {
        let mut app = app();
        let worker = app.workers.iter_mut().find(|worker| worker.name == "batch").unwrap();
        worker.lifetime = Lifetime::OneJob;
        applied_to(&format!("{batch}{lines}\n"), &app)
    };
    assert_eq!(on_task("workers_max = 9").unwrap().worker("batch").unwrap().workers_max, 9);
    for (lines, line, what) in [
        ("workers_max = 9\nworkers_min = 1", 3, "the minimum is 0"),
        ("workers_max = 9\nidle_timeout = 1", 3, "remove `idle_timeout`"),
        ("buffer = 1", 2, "remove `buffer`"),
        ("scaler = { request_count = 2 }", 2, "remove `scaler`"),
    ] {
        let error = on_task(lines).unwrap_err();
        assert!(
            error.starts_with(&format!("flash.toml:{line}: ")) && error.contains(what),
            "{lines}: {error}"
        );
    }
}

#[test]
fn wrong_settings_of_a_worker_type_are_named_with_their_line() {
    for (lines, line, what) in [
        ("\nworkers = \"3..=1\"", 3, "the minimum is greater than the maximum"),
        ("workers = \"0..=1001\"", 2, "the maximum must be 1 to 1000"),
        ("workers_min = 4", 2, "4 to 3 workers; the minimum is greater than the maximum"),
        ("workers_max = 0", 2, "`workers_max` is 0; expected 1 to 1000"),
        ("workers_min = 1001", 2, "`workers_min` is 1001; expected 0 to 1000"),
        ("workers = \"0..=1\"\nworkers_min = 1", 3, "already sets the minimum and the maximum"),
        ("idle_timeout = 0", 2, "`idle_timeout` is 0; expected 1 to 3600"),
        ("shm_mib = 0", 2, "`shm_mib` is 0; expected 1 to 1048576"),
        ("vram_gib = 181", 2, "`vram_gib` is 181; expected 1 to 180"),
        (
            "gpu = \"ADA_24\"\nvram_gib = 25",
            3,
            "`model` needs 25 GB on each GPU (`vram_gib`), but GPU ADA_24 has 24",
        ),
        ("cpu = \"cpu3g-2-8\"\nvram_gib = 2", 3, "`model` runs on a CPU; `vram_gib` requires `gpu`"),
        ("execution_timeout = 604801", 2, "1 to 604800"),
        ("max_concurrency = 10001", 2, "1 to 10000"),
        ("scaler = { queue_delay = 0 }", 2, "`queue_delay` is 0"),
        ("scaler = { queue_dely = 1 }", 2, "did you mean `queue_delay`?"),
        ("cpu = [\"cpu3g-2-9\"]", 2, "not a CPU instance; did you mean `cpu3g-2-8`"),
        ("gpu = \"ADA_25\"", 2, "not a GPU pool or type; did you mean `ADA_24`"),
        ("gpu = [\"ADA_24\", \"ADA_24\"]", 2, "`ADA_24` is listed twice"),
        ("gpu = []", 2, "the list is empty"),
        ("gpu_count = 9", 2, "`gpu_count` is 9; expected 1 to 8"),
        ("cpu = \"cpu3g-2-8\"\ngpu = \"ADA_24\"", 3, "not both"),
        ("cpu = \"cpu3g-2-8\"\ngpu_count = 1", 3, "`gpu_count` requires `gpu`"),
        ("data_centers = [\"EU-RO-11\"]", 2, "not a data center; did you mean `EU-RO-1`"),
        ("idle_timout = 1", 2, "unknown field `idle_timout`; did you mean `idle_timeout`"),
    ] {
        let error = refused(lines);
        assert!(
            error.starts_with(&format!("flash.toml:{line}: ")) && error.contains(what),
            "{lines}: {error}"
        );
    }
}

#[test]
fn wrong_settings_of_an_environment_are_named_with_their_line() {
    for (text, line, what) in [
        ("[environments.A]", 1, "`A` is not a valid environment name"),
        ("[environments.a]\ntarget = \"locl\"", 2, "did you mean `local`?"),
        ("[environments.a]\nlisten = \"somewhere\"", 2, "expected an IP address"),
        ("[environments.a]\nport = 0", 2, "1 to 65535"),
        ("[environments.a]\nregistry = \" \"", 2, "`registry` is empty"),
        (
            "[environments.a]\n\ndata_centers = [\"EU-RO-1\"]",
            3,
            "`data_centers` requires target = \"runpod\"",
        ),
        ("[environments.a]\nnetwork_volumes = []", 2, "`network_volumes` requires target = \"runpod\""),
        ("[environments.a]\nregistry_credential = \"x\"", 2, "requires target = \"runpod\""),
        (
            "[environments.a]\ntarget = \"runpod\"\ndata_centers = [\n\"EU-RO-1\",\n\"EU-RO-11\"]",
            5,
            "not a data center; did you mean `EU-RO-1`",
        ),
        ("[environments.a]\ntarget = \"runpod\"\nnetwork_volumes = [\"a\", \"a\"]", 3, "`a` is listed twice"),
        (
            "[environments.a]\ntarget = \"runpod\"\nregistry_credential = \"a b\"",
            3,
            "`a b` is not a valid ID",
        ),
        ("[environments.a]\nregstry = \"x\"", 2, "did you mean `registry`?"),
        ("[environments.a.variables]\n\nA-B = \"x\"", 3, "not a valid variable name"),
        ("[environments.a.variables]\nFLASH_X = \"secret\"", 2, "`FLASH_X` is set by the platform"),
        ("[environments.a.variables]\nRUNPOD_API_KEY = \"secret\"", 2, "is set by the platform"),
        ("[environments.a.variables]\nPORT = \"secret\"", 2, "`PORT` is set by the platform"),
        (
            "[environments.a.workers.modl]\nworkers_max = 1",
            1,
            "no worker type named `modl`; did you mean `model`?",
        ),
        ("[enviroments.a]", 1, "did you mean `environments`?"),
        ("[build.workers.x]\ninclde = []", 2, "did you mean `include`?"),
        ("[prices]\nADA_25 = 1.0", 2, "did you mean `ADA_24`"),
    ] {
        let error = applied(text).unwrap_err();
        assert!(
            error.starts_with(&format!("flash.toml:{line}: ")) && error.contains(what),
            "{text}: {error}"
        );
        assert!(!error.contains("secret"), "{error}");
    }
}
