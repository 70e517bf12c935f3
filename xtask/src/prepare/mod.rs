//! What the tasks need besides cargo: each part is installed only if it is missing.
//!
//! If a part cannot be installed here, the task ends with the command to run.
mod apt;
mod browser;
mod cluster;
mod components;
mod containers;
mod cuda;
mod models;
mod node;
mod prometheus;
mod python;

use std::path::{Path, PathBuf};

use self::python::Environment;
use crate::{
    command::{cargo, run},
    failure::Failure,
    steps::Steps,
};

/// The toolchain's own formatter and linter.
pub(crate) fn lint(steps: &mut Steps) -> Result<(), Failure> {
    steps.take("lint tools", components::prepare)
}

/// All crates of the lock file. A build downloads those that it compiles; `cargo metadata`, which `flash` asks, wants those
/// of other systems too.
pub(crate) fn crates(steps: &mut Steps) -> Result<(), Failure> {
    steps.take("crates", || run(&mut cargo(&["fetch", "--locked"])))
}

/// A browser that a program can control.
pub(crate) fn browser(steps: &mut Steps) -> Result<(), Failure> {
    steps.take("browser", browser::prepare)
}

/// A registry, and tools that read and run images.
pub(crate) fn containers(steps: &mut Steps) -> Result<(), Failure> {
    steps.take("container tools", containers::prepare)
}

/// The directory with MiniLM's files.
pub(crate) fn minilm(steps: &mut Steps) -> Result<PathBuf, Failure> {
    steps.take("MiniLM", || models::MINILM.prepare())?;
    Ok(models::MINILM.directory())
}

/// The directory with SmolLM2's file.
pub(crate) fn smollm2(steps: &mut Steps) -> Result<PathBuf, Failure> {
    steps.take("SmolLM2", || models::SMOLLM2.prepare())?;
    Ok(models::SMOLLM2.directory())
}

/// The directory with EfficientNet's file.
pub(crate) fn efficientnet(steps: &mut Steps) -> Result<PathBuf, Failure> {
    steps.take("EfficientNet", || models::EFFICIENTNET.prepare())?;
    Ok(models::EFFICIENTNET.directory())
}

/// The interpreter with the official `runpod` package.
pub(crate) fn python(steps: &mut Steps) -> Result<PathBuf, Failure> {
    let environment = Environment::of_tests();
    steps.take("Python", || environment.prepare())?;
    Ok(environment.interpreter())
}

/// The interpreter with a framework that flash is compared with: one of the folders in `xtask/bench/peers`.
pub(crate) fn bench_peer(steps: &mut Steps, name: &'static str) -> Result<PathBuf, Failure> {
    let environment = Environment::of_bench_peer(name);
    steps.take(name, || environment.prepare())?;
    Ok(environment.interpreter())
}

/// The Python environment with a CUDA toolkit.
pub(crate) fn cuda(steps: &mut Steps) -> Result<PathBuf, Failure> {
    steps.take("CUDA", cuda::prepare)?;
    Ok(cuda::directory())
}

/// The directory with Prometheus and promtool; `None` where there are none.
pub(crate) fn prometheus(steps: &mut Steps) -> Result<Option<PathBuf>, Failure> {
    let mut directory = None;
    steps.take("Prometheus", || {
        directory = prometheus::prepare()?;
        Ok(())
    })?;
    Ok(directory)
}

/// The modules of Node with OpenAI's official client and axe-core; `None` where there is no npm.
pub(crate) fn node(steps: &mut Steps) -> Result<Option<PathBuf>, Failure> {
    let mut modules = None;
    steps.take("Node", || {
        modules = node::prepare()?;
        Ok(())
    })?;
    Ok(modules)
}

/// What builds and runs a Kubernetes cluster, but its own programs.
pub(crate) fn cluster_packages() -> Result<(), Failure> {
    cluster::prepare()
}

/// Debian packages, unpacked into a new directory and not installed.
pub(crate) fn unpacked(packages: &[&str], into: &Path) -> Result<(), Failure> {
    apt::unpack(packages, into)
}
