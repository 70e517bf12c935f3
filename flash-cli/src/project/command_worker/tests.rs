use std::path::Path;

use flash_protocol::manifest::App;

use super::*;
use crate::project::Config;

fn parse(text: &str) -> Result<Vec<CommandWorker>, String> {
    let config = Config::parse(text, Path::new("flash.toml"));
    config.map(|config| config.commands()).map_err(|error| error.to_string())
}

/// The error for a `[workers.captioner]` table with these lines below its command, which is on line 2.
fn refused(lines: &str) -> String {
    parse(&format!("[workers.captioner]\ncommand = [\"python3\"]\n{lines}\n")).unwrap_err()
}

#[test]
fn a_command_alone_has_the_defaults_of_the_sdk() {
    let [command] = &parse("[workers.captioner]\ncommand = ['python3', '-u', 'worker.py']\n").unwrap()[..]
    else {
        panic!("one is expected")
    };
    assert_eq!(command.program, Program::command("python3", ["-u", "worker.py"]));
    let CommandWorker { worker_type, environment, health_path, .. } = command;
    assert_eq!((worker_type.name.as_str(), worker_type.kind), ("captioner", EndpointKind::Queue));
    assert_eq!(worker_type.compute.label(), "CPU cpu3c-1-2");
    assert_eq!((worker_type.workers_min, worker_type.workers_max), (0, 3));
    assert_eq!((worker_type.idle_timeout_seconds, worker_type.execution_timeout_seconds), (5, 600));
    assert_eq!(worker_type.scaler, ScalerEntry::QueueDelay { seconds: 4 });
    assert_eq!((environment.len(), health_path.as_str()), (0, "/ping"));
}

#[test]
fn an_image_has_a_complete_name_and_may_have_a_command_line_of_its_own() {
    let text = "[workers.llm]\nimage = 'redis'\ncommand = ['a', 'b']\nargs = ['--port', '$PORT']\n";
    let [command] = &parse(text).unwrap()[..] else { panic!("one is expected") };
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
    let expected = Program::Image {
        image: "docker.io/library/redis:latest".to_owned(),
        entrypoint: words(&["a", "b"]),
        arguments: words(&["--port", "$PORT"]),
    };
    assert_eq!(command.program, expected);
    assert!(
        files_of(std::slice::from_ref(command), Path::new("/")).is_empty(),
        "its words are no files of the project"
    );
    for (lines, part) in [
        ("workers = '0..=1'", "1: `w` has nothing to run; set `command`"),
        ("args = ['x']", "2: `args` requires `image`"),
        ("image = 'No Image'", "2: `No Image` is not the name of an image"),
        ("image = 'redis'\ncommand = []", "3: `command` is empty"),
        ("image = 'redis'\nneeds = ['ffmpeg']", "3: `needs` requires a program of this machine"),
    ] {
        let error = parse(&format!("[workers.w]\n{lines}\n")).unwrap_err();
        assert!(error.contains(part), "{lines}: {error}");
    }
}

#[test]
fn every_setting_is_read() {
    let commands = parse(
        r#"
        [workers.web]
        kind = "load_balanced"
        command = ["./serve"]
        gpu = "ADA_24"
        gpu_count = 2
        vram_gib = 10
        workers = "1..=2"
        idle_timeout = 7
        execution_timeout = 8
        max_concurrency = 9
        scaler = { request_count = 10 }
        buffer = 1
        disk_gib = 64
        shm_mib = 512
        max_body_mib = 11
        request_timeout = 12
        env = { HEALTH_CHECK_PATH = "/health?deep=1", TOKEN = "secret" }

        [workers.batch]
        command = ["batch"]
        cpu = "cpu5c-2-4"
        scaler = { queue_delay = 11 }
        "#,
    )
    .unwrap();
    let [batch, web] = &commands[..] else { panic!("two are expected") };
    assert_eq!(batch.worker_type.compute.label(), "CPU cpu5c-2-4");
    assert_eq!(batch.worker_type.scaler, ScalerEntry::QueueDelay { seconds: 11 });
    let expected = WorkerType {
        name: "web".into(),
        kind: EndpointKind::LoadBalanced,
        compute: ComputeEntry::Gpu { pools: vec![GpuPool::Ada24], types: Vec::new(), count: 2 },
        workers_min: 1,
        workers_max: 2,
        idle_timeout_seconds: 7,
        execution_timeout_seconds: 8,
        max_concurrency: 9,
        scaler: ScalerEntry::RequestCount { requests: 10 },
        buffer: 1,
        lifetime: Default::default(),
        data_centers: Vec::new(),
        disk_gib: Some(64),
        shm_mib: Some(512),
        vram_gib: Some(10),
        http: None,
        max_body_mib: Some(11),
        request_timeout_seconds: Some(12),
        model: None,
        start_timeout_seconds: None,
    };
    assert_eq!(web.worker_type, expected);
    assert_eq!(web.health_path, "/health?deep=1");
    let shown = format!("{web:?}");
    assert!(shown.contains("TOKEN") && !shown.contains("secret"), "{shown}");
}

#[test]
fn a_load_balanced_command_has_its_own_defaults() {
    let commands = parse("[workers.web]\ncommand = ['serve']\nkind = 'load_balanced'\n").unwrap();
    let web = &commands[0].worker_type;
    assert_eq!((web.max_concurrency, web.scaler), (64, ScalerEntry::RequestCount { requests: 4 }));
}

#[test]
fn a_mistake_is_named_with_its_line() {
    for (lines, message) in [
        ("comand = 1", "flash.toml:3: unknown field `comand`"),
        ("cpu = 'cpu3c-1-3'", "flash.toml:3: `cpu3c-1-3` is not a CPU instance; did you mean `cpu3c-1-2`"),
        ("gpu = 'ADA_25'", "flash.toml:3: `ADA_25` is not a GPU pool or type; did you mean `ADA_24`"),
        (
            "cpu = 'cpu3c-1-2'\ngpu = 'ADA_24'",
            "flash.toml:4: a worker type has either `cpu` or `gpu`, not both",
        ),
        ("gpu_count = 2", "flash.toml:3: `gpu_count` requires `gpu`"),
        ("gpu = 'ADA_24'\ngpu_count = 9", "flash.toml:4: `gpu_count` is 9; expected 1 to 8"),
        ("vram_gib = 2", "flash.toml:3: `vram_gib` requires `gpu`"),
        ("gpu = 'ADA_24'\nvram_gib = 25", "flash.toml:4: `vram_gib` is 25; expected 1 to 24"),
        ("workers = '0..3'", "flash.toml:3: `workers` is `0..3`; expected \"MIN..=MAX\""),
        ("workers = '3..=1'", "flash.toml:3: `workers` is `3..=1`; the minimum is greater than the maximum"),
        ("workers = '0..=0'", "flash.toml:3: `workers` is `0..=0`; the maximum must be 1 to 1000"),
        ("workers = '0..=1001'", "flash.toml:3: `workers` is `0..=1001`; the maximum must be 1 to 1000"),
        ("workers = 3", "flash.toml:3: invalid type"),
        ("idle_timeout = 0", "flash.toml:3: `idle_timeout` is 0; expected 1 to 3600"),
        ("execution_timeout = 604801", "flash.toml:3: `execution_timeout` is 604801; expected 1 to 604800"),
        ("execution_timeout = -1", "flash.toml:3: invalid value"),
        ("disk_gib = 0", "flash.toml:3: `disk_gib` is 0; expected 1 to 10000"),
        ("shm_mib = 0", "flash.toml:3: `shm_mib` is 0; expected 1 to 1048576"),
        ("max_concurrency = 2", "flash.toml:3: `max_concurrency` requires kind = \"load_balanced\""),
        (
            "kind = 'load_balanced'\nmax_concurrency = 0",
            "flash.toml:4: `max_concurrency` is 0; expected 1 to 10000",
        ),
        ("kind = 'lb'", "flash.toml:3: unknown variant `lb`"),
        ("scaler = { queue_delay = 0 }", "flash.toml:3: `queue_delay` is 0"),
        ("scaler = { request_count = 0 }", "flash.toml:3: `request_count` is 0"),
        ("scaler = { delay = 1 }", "flash.toml:3: unknown variant `delay`"),
        ("env = { FLASH_ROLE = 'x' }", "flash.toml:3: `FLASH_ROLE` is set by the platform"),
        (
            "[workers.captioner.env]\nA = '1'\nRUNPOD_POD_ID = 'x'",
            "flash.toml:5: `RUNPOD_POD_ID` is set by the platform",
        ),
        ("env = { 'A=B' = 'x' }", "flash.toml:3: `A=B` cannot be set"),
        (
            "kind = 'load_balanced'\nenv = { HEALTH_CHECK_PATH = 'health' }",
            "flash.toml:4: `HEALTH_CHECK_PATH` is not a path",
        ),
    ] {
        let refused = refused(lines);
        assert!(refused.starts_with(message), "{lines}: {refused}");
    }
    for (text, message) in [
        ("[workers.captioner]\ncpu = 'cpu3c-1-2'", "flash.toml:1: `captioner` has nothing to run"),
        ("[workers.captioner]\ncommand = []", "flash.toml:2: `command` is empty"),
        ("[workers.captioner]\ncommand = ['']", "flash.toml:2: `command` is empty"),
        ("[workers.captioner]\ncommand = 'python3 x'", "flash.toml:2: invalid type"),
        ("\n[workers.'a/b']\ncommand = ['x']", "flash.toml:2: `a/b` is not a valid name"),
        ("[workers.v2]\ncommand = ['x']", "flash.toml:1: `v2` is a path of the platform"),
        ("[workers]\ncaptioner = 3", "flash.toml:2: invalid type"),
    ] {
        let refused = parse(text).unwrap_err();
        assert!(refused.starts_with(message), "{text}: {refused}");
    }
}

fn manifest(functions: serde_json::Value) -> Manifest {
    Manifest {
        version: 1,
        app: App { name: "app".into(), version: "0".into() },
        sdk_version: String::new(),
        workers: Vec::new(),
        functions: serde_json::from_value(functions).unwrap(),
        definitions: serde_json::Map::new(),
    }
}

#[test]
fn a_name_of_the_app_is_refused() {
    let function = |name: &str, module: &str, worker: &str, route: Option<&str>| {
        let route = route.map(|path| serde_json::json!({ "method": "GET", "path": path }));
        serde_json::json!({
            "name": name, "module": module, "worker": worker, "file": "src/main.rs", "line": 7,
            "route": route, "arguments": [], "output": {},
        })
    };
    let manifest = manifest(serde_json::json!([
        function("greet", "jobs", "greeter", None),
        function("item", "web", "front", Some("/items/{id}")),
    ]));
    let check = |name: &str, kind: &str| {
        let text = format!("\n[workers.{name}]\ncommand = ['x']\nkind = '{kind}'\n");
        let config = Config::parse(&text, Path::new("flash.toml")).unwrap();
        config.check_against(&manifest).map_err(|error| error.to_string())
    };
    for kind in ["queue", "load_balanced"] {
        let refused = check("greeter", kind).unwrap_err();
        let expected =
            "flash.toml:2: the app already has a worker type `greeter` (src/main.rs:7); choose another name";
        assert_eq!(refused, expected);
        assert_eq!(check("captioner", kind), Ok(()));
    }
    // A queue has no paths of its own.
    assert_eq!(check("items", "queue"), Ok(()));
    for name in ["items", "jobs"] {
        let refused = check(name, "load_balanced").unwrap_err();
        assert!(
            refused.contains(&format!("already serves paths below `/{name}` (src/main.rs:7)")),
            "{refused}"
        );
    }
}

#[test]
fn a_file_that_a_command_names_counts_with_its_time() {
    let directory = tempfile::TempDir::new().unwrap();
    std::fs::write(directory.path().join("worker.py"), "").unwrap();
    let commands =
        parse("[workers.w]\ncommand = ['python3', '-u', 'worker.py', 'missing.py', '/etc/hostname']\n")
            .unwrap();
    let files = files_of(&commands, directory.path());
    let paths: Vec<_> = files.iter().map(|(path, _)| path.clone()).collect();
    assert_eq!(paths, [directory.path().join("worker.py")]);
}
