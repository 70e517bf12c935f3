//! Schemathesis: requests made up from an API description, and what is wrong with the answers.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "the runner shows what a test prints where it matters"
)]
use std::{path::PathBuf, process::Command};

use tempfile::TempDir;

use super::{
    Running, root,
    skipped::{Needs, skip},
};

/// Names the interpreter that has the official `runpod` package and Schemathesis.
const PYTHON: &str = "FLASH_TEST_PYTHON";

/// Requests that are made up for each operation of the API description, beside those for the edges of its schemas.
const MADE_UP: &str = "40";

/// What every answer must keep to.
const ANSWERS: [&str; 4] = [
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
];

/// What must be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Takes {
    /// Everything that fits the schemas.
    WhatFits,
    /// Less: functions have rules of their own.
    WhatItsFunctionsTake,
}

/// The interpreter. Without one the tests do nothing, unless `FLASH_REQUIRE_PYTHON=1` forbids such a gap.
pub fn python() -> Option<PathBuf> {
    let Some(python) = std::env::var_os(PYTHON) else {
        skip(Needs::Python, &format!("{PYTHON} does not name a Python with the official `runpod` package"));
        return None;
    };
    Some(python.into())
}

/// Asks every operation that `/openapi.json` lists, and demands answers that it describes.
pub fn demand_described_answers(app: &Running, takes: Takes) {
    let Some(python) = python() else { return };
    let directory = TempDir::new().unwrap();
    let mut checks = ANSWERS.to_vec();
    if takes == Takes::WhatFits {
        checks.push("positive_data_acceptance");
    }
    let output = Command::new(python)
        .args(["-B", "-m", "schemathesis.cli", "run", &format!("{}/openapi.json", app.url)])
        .args(["--checks", &checks.join(","), "--phases", "coverage,fuzzing", "--max-examples", MADE_UP])
        // The same requests each time: what one run finds, the next one finds, too.
        .args(["--seed", "1", "--generation-deterministic", "--no-color"])
        .args(["--suppress-health-check", "all", "--continue-on-failure"])
        .current_dir(directory.path())
        .env("HYPOTHESIS_STORAGE_DIRECTORY", directory.path())
        .env("SCHEMATHESIS_HOOKS", "whole_numbers")
        .env("PYTHONPATH", root().join("flash-cli/tests/conformance"))
        .output()
        .unwrap();
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    println!("{stdout}");
    assert!(output.status.success(), "{}\n{stdout}\n{stderr}\n{}", output.status, app.stderr());
}
