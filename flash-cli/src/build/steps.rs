//! The steps of a build, in order: look, compile, describe, assemble, verify, record.
use std::{
    collections::BTreeMap,
    fs::File,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use flash_sdk::manifest::Manifest;

use super::{
    compile::{Compiler, cargo_home},
    git::Commit,
    plan::{Cuda, Inputs, Plan, PlanError, Selection, Variant},
    record::{BuildDirectory, Record},
    toolchain::{Platform, Target, Toolchain, ToolchainError},
};
use crate::{
    exit::{Code, Failure},
    output::Output,
    project::{self, Config, CudaPolicy, Package},
};

/// What is asked of a build.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub selection: Selection,
    /// That of this machine when not said.
    pub platform: Option<Platform>,
    /// Cargo's profile.
    pub profile: String,
    /// Beside those of `flash.toml`.
    pub features: Vec<String>,
    /// Whether GPU worker types must be built with CUDA, whatever `flash.toml` says.
    pub cuda: Option<CudaPolicy>,
    pub sources: Sources,
    pub materials: Materials,
}

/// Which sources may be built.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sources {
    /// As they lie there.
    Any,
    /// Those of a commit, with nothing changed.
    Committed,
}

/// Whether bills of materials are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Materials {
    Listed,
    LeftOut,
}

/// The app, compiled.
struct Compiled {
    manifest: Manifest,
    plan: Plan,
    /// Copies of the binaries.
    binaries: BTreeMap<Variant, PathBuf>,
}

/// One build under way.
pub(crate) struct Build<'a> {
    request: &'a Request,
    package: &'a Package,
    config: &'a Config,
    output: &'a Output,
    toolchain: Toolchain,
    platform: Platform,
    git: Option<Commit>,
    directory: BuildDirectory,
    /// Held as long as this lives.
    _lock: File,
}

impl<'a> Build<'a> {
    /// Looks at what is there, before anything takes time.
    ///
    /// # Errors
    /// What is missing, and how to get it.
    pub(crate) async fn prepare(
        request: &'a Request,
        package: &'a Package,
        config: &'a Config,
        output: &'a Output,
    ) -> Result<Self, Failure> {
        let git = Commit::of(&package.workspace).await;
        if request.sources == Sources::Committed {
            check_clean(git.as_ref(), &package.workspace)?;
        }
        let toolchain =
            Toolchain::find(&package.directory).await.map_err(|error| no_toolchain(&error))?;
        let platform = request.platform.or_else(Platform::of_this_machine).ok_or_else(|| {
            Failure::unusable(format!("no image can be made for this machine ({})", std::env::consts::ARCH))
                .hint("name a platform: flash build --platform linux/amd64")
        })?;
        let directory = BuildDirectory::of(&package.directory);
        directory.create().map_err(|error| Failure::of(Code::Failed, &error))?;
        let lock = lock(&directory, output).await?;
        Ok(Self { request, package, config, output, toolchain, platform, git, directory, _lock: lock })
    }

    fn target(&self, platform: Platform) -> Result<Target, Failure> {
        self.toolchain.static_target(platform).map_err(|error| no_toolchain(&error))
    }

    /// The binary that an app is described by: one without CUDA, for this machine.
    fn first_variant(&self) -> Result<Variant, Failure> {
        let platform = Platform::of_this_machine().unwrap_or(self.platform);
        let target_cpu = match platform == self.platform {
            true => self.config.build.target_cpu.clone(),
            // The setting is for the other machine.
            false => None,
        };
        let features = self.features().into_iter().collect();
        Ok(Variant { target: self.target(platform)?, features, target_cpu, capabilities: None })
    }

    fn features(&self) -> Vec<String> {
        self.config.build.features.iter().chain(&self.request.features).cloned().collect()
    }

    async fn compile_all(&self) -> Result<Compiled, Failure> {
        let first = self.first_variant()?;
        self.check_cpus(&self.target(self.platform)?).await?;
        // Left by a build that was interrupted.
        let _ = std::fs::remove_dir_all(self.directory.binaries());
        let program = self.compile(&first, 0).await?;
        let started = Instant::now();
        let manifest = project::described(&program, &self.package.directory, self.config).await?;
        let app = &manifest.app.name;
        let (workers, functions) = (manifest.workers.len(), manifest.functions.len());
        self.output.status(
            "Described",
            &format!("{app}: {workers} worker types, {functions} functions ({})", seconds(started.elapsed())),
        );
        let plan = self.plan(&manifest)?;
        let mut binaries = BTreeMap::from([(first, program)]);
        for variant in plan.variants() {
            if !binaries.contains_key(variant) {
                let program = self.compile(variant, binaries.len()).await?;
                binaries.insert(variant.clone(), program);
            }
        }
        Ok(Compiled { manifest, plan, binaries })
    }
}

fn check_clean(git: Option<&Commit>, workspace: &Path) -> Result<(), Failure> {
    let place = workspace.display();
    match git {
        None => Err(Failure::unusable(format!("--require-clean: {place} is in no git repository with a commit"))),
        Some(commit) if commit.dirty => {
            Err(Failure::unusable(format!("--require-clean: {place} has changes that are in no commit"))
                .hint(format!("see them: git -C {place} status")))
        }
        Some(_) => Ok(()),
    }
}

fn no_toolchain(error: &ToolchainError) -> Failure {
    let failure = Failure::of(Code::Unusable, error);
    match error {
        ToolchainError::NoRustc(_) => failure.hint("install Rust: https://rustup.rs"),
        ToolchainError::Refused { .. } => failure,
        ToolchainError::NoTarget { triples, .. } => failure.hint(format!("rustup target add {}", triples[1])),
        ToolchainError::UnknownCpu { triple, .. } => {
            failure.hint(format!("those it knows: rustc --print target-cpus --target {triple}"))
        }
    }
}

fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}
