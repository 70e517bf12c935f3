//! The environment variables that `flash`, apps and workers read, for `docs/variables.md`.
use std::{collections::BTreeSet, path::Path};

use flash_protocol::variables as names;
use walkdir::WalkDir;

use super::page;

/// A variable of the page.
struct Variable {
    name: &'static str,
    default: &'static str,
    meaning: &'static str,
}

const fn variable(name: &'static str, default: &'static str, meaning: &'static str) -> Variable {
    Variable { name, default, meaning }
}

/// The tables of the page.
const TABLES: [(&str, &[Variable]); 7] = [
    ("commands", &COMMANDS),
    ("run", &RUN),
    ("build", &BUILD),
    ("models", &MODELS),
    ("apps", &APPS),
    ("workers", &WORKERS),
    ("Runpod's workers", &RUNPOD_WORKERS),
];

const COMMANDS: [Variable; 25] = [
    variable(
        "FLASH_DATA_DIR",
        "`$XDG_DATA_HOME/flash`, else `~/.local/share/flash`",
        "the data of the [background service](service.md): one service per directory",
    ),
    variable(
        names::CONFIG_DIR,
        "`$XDG_CONFIG_HOME/flash`, else `~/.config/flash`",
        "where keys are kept; apps read it too",
    ),
    variable(
        "FLASH_URL",
        "",
        "the address of the `flash run` that [`flash call`, `flash logs` and others](calling.md#a-running-flash-run) \
         are for",
    ),
    variable(
        names::RUNPOD_API_KEY,
        "`.env`, else what `flash login` stored",
        "the key of your Runpod account",
    ),
    variable(
        "RUNPOD_ENDPOINT_BASE_URL",
        "`https://api.runpod.ai/v2`",
        "Runpod's queue API; `https`, except on this machine",
    ),
    variable(
        "FLASH_RUNPOD_REST_URL",
        "`https://api.runpod.io`",
        "Runpod's REST API; `https`, except on this machine",
    ),
    variable(
        "FLASH_REGISTRY_USERNAME",
        "",
        "with the next: the login for the [registry that is pushed to](push.md#credentials)",
    ),
    variable("FLASH_REGISTRY_PASSWORD", "", "its password or token"),
    variable("REGISTRY_AUTH_FILE", "", "a file with logins of registries, before those of docker and podman"),
    variable(
        "DOCKER_CONFIG",
        "`~/.docker`",
        "the directory of docker's `config.json`, with logins of registries",
    ),
    variable("XDG_CONFIG_HOME", "`~/.config`", "above `flash`, and `containers/auth.json` of podman"),
    variable("XDG_DATA_HOME", "`~/.local/share`", "above `flash`"),
    variable("XDG_RUNTIME_DIR", "", "has `containers/auth.json` of podman"),
    variable("DISPLAY", "", "if it is set, `flash dashboard` opens a browser"),
    variable("WAYLAND_DISPLAY", "", "the same"),
    variable("HOME", "that of your user", "above `~` of this page"),
    variable("USER", "", "whose background service outlives a logout (`loginctl`)"),
    variable("PATH", "", "where programs are searched for: cargo, podman, those that worker types need"),
    variable("HTTPS_PROXY", "", "a proxy for requests to other machines, of `flash` and of apps"),
    variable("HTTP_PROXY", "", "the same, for `http`"),
    variable("ALL_PROXY", "", "the same, for both"),
    variable("NO_PROXY", "", "hosts that are asked without a proxy, with commas between them"),
    variable("NO_COLOR", "", "turns colors off if it is not empty"),
    variable("CLICOLOR", "", "`0` turns colors off"),
    variable("CLICOLOR_FORCE", "", "`1` turns colors on, even if the output is not a terminal"),
];

const RUN: [Variable; 7] = [
    variable("FLASH_HOST", "`host` of `flash.toml`", "where `flash run` listens, as `--host`"),
    variable("FLASH_PORT", "`port` of `flash.toml`", "its port, as `--port`"),
    variable(
        "FLASH_ALLOW_HOST",
        "`allow_hosts` of `flash.toml`",
        "other host names that it answers to, with commas between them, as `--allow-host`",
    ),
    variable(
        names::API_KEY,
        "no key",
        "the key that clients [must send](run.md#who-may-ask); commands that ask a `flash run` send it",
    ),
    variable(
        "FLASH_WEBHOOK_SECRET",
        "one that is made once, in `.flash/webhook_secret`",
        "signs [webhooks](queue.md#webhooks)",
    ),
    variable(
        "OTEL_EXPORTER_OTLP_ENDPOINT",
        "no traces",
        "where [traces](traces.md) are sent; with it, the other variables of OpenTelemetry count, and workers get them",
    ),
    variable("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "", "the same, with the path"),
];

const BUILD: [Variable; 13] = [
    variable("CARGO_HOME", "`~/.cargo`", "cargo's home: its paths do not get into binaries"),
    variable("RUSTC", "`rustc`", "the compiler that is asked for its version and targets"),
    variable("RUSTC_WRAPPER", "", "such as `sccache`: goes on being used"),
    variable("CARGO_BUILD_RUSTC_WRAPPER", "", "the same, if `RUSTC_WRAPPER` is not set"),
    variable("CARGO_ENCODED_RUSTFLAGS", "", "flags of the compiler; those of `flash build` are added"),
    variable("RUSTFLAGS", "", "the same, if `CARGO_ENCODED_RUSTFLAGS` is not set"),
    variable(
        "CFLAGS",
        "",
        "flags of the C compiler; also as `CFLAGS_TRIPLE` and `TARGET_CFLAGS`. Those of `flash build` are added",
    ),
    variable("CXXFLAGS", "", "the same for C++"),
    variable("CUDA_HOME", "searched for", "where CUDA's compiler is, after `cuda_home` of `flash.toml`"),
    variable("CUDA_PATH", "", "the same, if that is not set"),
    variable("CUDA_ROOT", "", "the same, if neither is set"),
    variable("CUDA_VISIBLE_DEVICES", "all", "the GPUs that workers may get; each gets its own of them"),
    variable("CUDA_DEVICE_ORDER", "`PCI_BUS_ID` for workers", "in which order GPUs are numbered"),
];

const MODELS: [Variable; 9] = [
    variable("HF_HUB_CACHE", "`$HF_HOME/hub`", "the cache of [weights](weights.md)"),
    variable("HUGGINGFACE_HUB_CACHE", "", "its older name"),
    variable("HF_HOME", "`~/.cache/huggingface`", "above the cache and the token"),
    variable("XDG_CACHE_HOME", "`~/.cache`", "above `huggingface`"),
    variable("HF_TOKEN", "what `hf auth login` stored", "your token, for models that need one"),
    variable("HF_TOKEN_PATH", "`$HF_HOME/token`", "where that is stored"),
    variable("HF_ENDPOINT", "`https://huggingface.co`", "another Hub, such as a mirror"),
    variable("HF_HUB_OFFLINE", "", "`1` forbids the network"),
    variable("TRANSFORMERS_OFFLINE", "", "the same"),
];

const APPS: [Variable; 8] = [
    variable(
        names::ENV,
        "calls run in this process",
        "the environment whose functions your `main` [calls](calling.md#from-the-apps-own-main-flash_env)",
    ),
    variable(names::ENDPOINTS, "the credential file", "a JSON object that maps worker types to base URLs"),
    variable(
        names::API_KEY,
        "the credential file",
        "the key for these calls, and of an `Endpoint` without its own",
    ),
    variable(
        names::RUNPOD_API_KEY,
        "",
        "the same where `FLASH_API_KEY` is not set; comes first for Runpod's own addresses",
    ),
    variable(
        "FLASH_ENVIRONMENT_NAME_URL",
        "the credential file",
        "the address of the environment that code names: `shop/eu-west` is `SHOP_EU_WEST`",
    ),
    variable(
        "FLASH_ENVIRONMENT_NAME_ENDPOINTS",
        "",
        "as `FLASH_ENDPOINTS`, for that environment; comes first",
    ),
    variable("FLASH_ENVIRONMENT_NAME_KEY", "`FLASH_API_KEY`", "its key"),
    variable(names::BIN, "`flash` on `PATH`", "the command that [tests](testing.md) start"),
];

const WORKERS: [Variable; 16] = [
    variable(
        names::ROLE,
        "from the others",
        "`describe` prints the manifest; `worker` runs as a worker; `pod` starts workers as the platform says",
    ),
    variable(names::WORKER, "the app's only one", "the worker type to run as"),
    variable(names::EXCHANGE_URL, "", "where work comes from on the Flash platform, which sets it"),
    variable(names::POD_URL, "", "where the first process of a pod finds the Flash platform, which sets it"),
    variable(names::POD_KEY, "", "the key with which it is let in, which the Flash platform sets"),
    variable(
        names::OUTPUT_MARKS,
        "",
        "marks the output with the work that it is for; the first process of a pod sets a nonce",
    ),
    variable(
        names::MODEL_DIR,
        "the Hub's cache",
        "the files of the worker's model; set by the platform and in images",
    ),
    variable(
        names::PRICE,
        "no costs",
        "the price of a second in billionths of a dollar; set by the platform",
    ),
    variable(names::DRAIN_SECONDS, "30", "seconds that running work has after SIGTERM"),
    variable(names::RESULT_RETRY_SECONDS, "600", "seconds for which a finished result is offered"),
    variable(
        names::HTTP_HOST,
        "`0.0.0.0`",
        "where a load-balanced worker listens; the platform sets loopback",
    ),
    variable(names::PORT, "80", "its port; 0: a free one"),
    variable(names::PORT_HEALTH, "`PORT`", "the port that answers `/ping`"),
    variable(names::THREADS, "one per core", "async threads"),
    variable("RAYON_NUM_THREADS", "one per core", "threads of libraries that compute with rayon"),
    variable("CANDLE_NUM_THREADS", "one per core", "threads of candle"),
];

const RUNPOD_WORKERS: [Variable; 12] = [
    variable(names::RUNPOD_GET_JOB, "", "where jobs come from; if it is set, the binary is a worker"),
    variable(names::RUNPOD_POST_OUTPUT, "required with the one above", "where results go"),
    variable(names::RUNPOD_POST_STREAM, "", "where parts of a stream go"),
    variable(names::RUNPOD_PING, "no pings", "where pings go"),
    variable(names::RUNPOD_PING_INTERVAL, "10000", "milliseconds between them; at least 100"),
    variable(names::RUNPOD_AI_API_KEY, "", "the worker's key, sent unchanged in `Authorization`"),
    variable(names::RUNPOD_POD_ID, "`HOSTNAME`, else a random one", "the worker's ID"),
    variable("HOSTNAME", "", "see above"),
    variable(names::RUNPOD_POD_HOSTNAME, "`unknown`", "the host's name in errors"),
    variable(names::RUNPOD_ENDPOINT_ID, "", "the endpoint; if it is set, lines of the log are JSON"),
    variable(names::RUNPOD_GPU_TYPE_ID, "", "the type of its GPU, for these addresses"),
    variable(
        names::RUNPOD_LOG_LEVEL,
        "`INFO`",
        "the lowest level of log lines: `TRACE`, `DEBUG`, `INFO`, `WARN` or `ERROR`; a project may set it",
    ),
];

/// Variables in the sources that nobody sets for `flash` or a worker, each group with its reason.
const OTHERS: [(&str, &[&str]); 10] = [
    ("for tests", &["FLASH_TEST_PYTHON"]),
    ("what the platform in a cluster is told of its place", &["FLASH_CLUSTER", "FLASH_CLUSTER_JOIN_KEY"]),
    (
        "notes of the target runpod at its own endpoints",
        &[
            "FLASH_APP",
            "FLASH_CREATED_MS",
            "FLASH_ENVIRONMENT",
            "FLASH_HEARTBEAT_MS",
            "FLASH_NOTES",
            "FLASH_REASON",
            "FLASH_RELEASE",
            "FLASH_ROLLBACK_OF",
            "FLASH_SENDER",
            "FLASH_STATE",
        ],
    ),
    ("set for the compiler", &["FLASH_RUSTC_INNER", "FLASH_RUSTC_MAPPED", "FLASH_RUSTC_WORKSPACE"]),
    (
        "set by cargo, or for it",
        &[
            "CARGO_INCREMENTAL",
            "CARGO_MANIFEST_DIR",
            "CARGO_PKG_NAME",
            "CARGO_TARGET_DIR",
            "CUDA_COMPUTE_CAP",
        ],
    ),
    (
        "set for CUDA's build scripts",
        &["CUDA_TOOLKIT_ROOT_DIR", "CARGO_PKG_RUST_VERSION", "CARGO_PKG_VERSION"],
    ),
    (
        "read by others: Runpod's own worker, its platform",
        &["RUNPOD_INIT_TIMEOUT", "RUNPOD_SKIP_AUTO_SYSTEM_CHECKS", "RUNPOD_SKIP_GPU_CHECK"],
    ),
    ("read by docker itself", &["DOCKER_HOST"]),
    ("set when a release is compiled", &["FLASH_RELEASED"]),
    ("names of errors", &["CUDA_ERROR_OUT_OF_MEMORY"]),
];

/// The beginnings of names that are variables wherever they stand in a source.
const BEGINNINGS: [&str; 8] =
    ["FLASH_", "RUNPOD_", "HF_", "HUGGINGFACE_", "CUDA_", "CARGO_", "XDG_", "DOCKER_"];

/// Whether this is a source of a program: tests set variables too.
fn is_source(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let inside = |folder: &str| path.components().any(|part| part.as_os_str() == folder);
    name.ends_with(".rs")
        && !name.contains("test")
        && name != "fixtures.rs"
        && inside("src")
        && !["tests", "snapshots", "flash-test-support", "reference"].iter().any(|folder| inside(folder))
}

/// The variables that a source names: words with one of the beginnings, and what it asks the environment for.
fn named_in(source: &str) -> impl Iterator<Item = &str> {
    let code = source.split("\n#[cfg(test)]\nmod ").next().unwrap_or_default();
    let lines = code.lines().filter(|line| !line.trim_start().starts_with("//"));
    lines.flat_map(|line| {
        line.split('"').enumerate().skip(1).step_by(2).filter_map(move |(index, word)| {
            let before = line.split('"').nth(index - 1).unwrap_or_default();
            // With `_` at the end it is a beginning of names.
            let is_name = !word.is_empty()
                && !word.ends_with('_')
                && word
                    .bytes()
                    .all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_');
            let is_asked = ["var(", "var_os(", "get(", "is_set("].iter().any(|call| before.ends_with(call));
            let is_known = BEGINNINGS.iter().any(|beginning| word.starts_with(beginning));
            (is_name && (is_asked || is_known)).then_some(word)
        })
    })
}

#[test]
fn each_variable_in_the_sources_is_in_the_reference() {
    let mut read = BTreeSet::new();
    for folder in ["crates", "flash-cli", "flash-sdk", "flash-macros"] {
        for entry in WalkDir::new(page::root().join(folder)) {
            let path = entry.unwrap().into_path();
            if is_source(&path) {
                let source = std::fs::read_to_string(&path).unwrap();
                read.extend(named_in(&source).map(str::to_owned));
            }
        }
    }
    let described: BTreeSet<_> =
        TABLES.iter().flat_map(|(_, variables)| variables.iter().map(|known| known.name)).collect();
    let others: BTreeSet<_> = OTHERS.iter().flat_map(|(_, names)| names.iter().copied()).collect();
    let missing: Vec<_> = read
        .iter()
        .map(String::as_str)
        .filter(|name| !described.contains(name) && !others.contains(name))
        .collect();
    assert!(missing.is_empty(), "describe them in TABLES, or say in OTHERS why not: {missing:?}");
    // Names that code puts together, or that a list of names has.
    let made =
        |name: &str| name.starts_with("FLASH_ENVIRONMENT_NAME_") || ["CXXFLAGS", "CFLAGS"].contains(&name);
    let all: String = read.iter().flat_map(|name| [name.as_str(), "\n"]).collect();
    let gone: Vec<_> = described
        .union(&others)
        .filter(|name| !made(name) && !all.lines().any(|read| read == **name))
        .filter(|name| BEGINNINGS.iter().any(|beginning| name.starts_with(beginning)))
        .collect();
    assert!(gone.is_empty(), "no source names them any more: {gone:?}");
}

#[test]
fn the_page_of_variables_says_what_the_code_says() {
    let tables: Vec<_> = TABLES
        .iter()
        .map(|(name, variables)| {
            let row = |known: &Variable| {
                format!("| `{}` | {} | {} |\n", known.name, known.default, known.meaning)
                    .replace("|  |", "| |")
            };
            let rows: String = variables.iter().map(row).collect();
            ((*name).to_owned(), format!("| variable | default | meaning |\n|---|---|---|\n{rows}"))
        })
        .collect();
    page::compare("variables.md", &tables);
}

#[test]
fn names_are_found_where_code_asks_for_them() {
    let source = "// \"FLASH_COMMENT\"\nlet a = var(\"HOME\"); const B: &str = \"FLASH_B\"; f(\"POST\");\n\
                  \n#[cfg(test)]\nmod tests { \"FLASH_TEST\" }";
    assert_eq!(named_in(source).collect::<Vec<_>>(), ["HOME", "FLASH_B"]);
}
