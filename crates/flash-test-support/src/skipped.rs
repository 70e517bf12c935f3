//! What a test leaves out because this machine lacks something: it is said, and an error where it must not be.
#![allow(clippy::print_stderr, reason = "whoever runs a test should see what it left out")]
use std::{env, io::Write as _};

/// What a machine may lack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(dead_code, reason = "unit tests and integration tests each use some")]
pub enum Needs {
    /// podman and the tools for images.
    Containers,
    /// Control groups that can be created.
    Limits,
    /// The right to mount a file system.
    Mounts,
    /// The Python environment of `cargo xtask test`.
    Python,
    /// The weights that `cargo xtask models` downloads.
    Models,
    /// Prometheus and promtool.
    Prometheus,
    /// The modules of Node of `cargo xtask test`.
    Node,
    /// The Kubernetes cluster of `cargo xtask cluster`.
    Cluster,
}

/// Names a file to which each test appends what it left out: `cargo xtask test` prints it at the end.
const LIST: &str = "FLASH_TEST_SKIPPED";

impl Needs {
    /// The variable that forbids leaving out what needs this, when it is `1`.
    fn forbidden_by(self) -> &'static str {
        match self {
            Self::Containers => "FLASH_REQUIRE_CONTAINERS",
            Self::Limits => "FLASH_REQUIRE_LIMITS",
            Self::Mounts => "FLASH_REQUIRE_MOUNTS",
            Self::Python => "FLASH_REQUIRE_PYTHON",
            Self::Models => "FLASH_REQUIRE_MODELS",
            Self::Prometheus => "FLASH_REQUIRE_PROMETHEUS",
            Self::Node => "FLASH_REQUIRE_NODE",
            Self::Cluster => "FLASH_REQUIRE_CLUSTER",
        }
    }
}

/// Says that the calling test leaves out what needs this.
///
/// # Panics
/// When that is forbidden.
#[track_caller]
pub fn skip(needs: Needs, why: &str) {
    let variable = needs.forbidden_by();
    assert!(env::var(variable).as_deref() != Ok("1"), "{variable}=1, but {why}");
    eprintln!("skipped: {why}");
    let Some(list) = env::var_os(LIST) else { return };
    let thread = std::thread::current();
    let line = format!("{}: {why}\n", thread.name().unwrap_or("a test"));
    let file = std::fs::OpenOptions::new().create(true).append(true).open(&list);
    file.and_then(|mut file| file.write_all(line.as_bytes())).expect("the list can be written");
}
