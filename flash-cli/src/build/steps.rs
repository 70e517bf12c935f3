//! The steps of a build, in order: look, compile, describe, assemble, verify, record.
use std::{
    collections::BTreeMap,
    fs::{File, TryLockError},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use flash_sdk::manifest::Manifest;

use super::{
    compile::{Compiler, cargo_home},
    git::Commit,
    plan::{Cuda, Inputs, Plan, Selection, Variant},
    record::BuildDirectory,
    toolchain::{Platform, Target, Toolchain},
};
use crate::{
    exit::Failure,
    output::Output,
    project::{self, Config, CudaPolicy, Package},
};

/// Between two looks at a lock that another build holds.
const BETWEEN_LOOKS: Duration = Duration::from_millis(100);

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
pub(crate) struct Compiled {
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
        let toolchain = Toolchain::find(&package.directory).await?;
        let platform = request.platform.or_else(Platform::of_this_machine).ok_or_else(|| {
            Failure::unusable(format!("no image can be made for this machine ({})", std::env::consts::ARCH))
                .hint("name a platform: flash build --platform linux/amd64")
        })?;
        let directory = BuildDirectory::of(&package.directory);
        directory.create()?;
        let lock = lock(&directory, output).await?;
        Ok(Self { request, package, config, output, toolchain, platform, git, directory, _lock: lock })
    }

    fn target(&self, platform: Platform) -> Result<Target, Failure> {
        Ok(self.toolchain.static_target(platform)?)
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

    pub(crate) async fn compile_all(&self) -> Result<Compiled, Failure> {
        let first = self.first_variant()?;
        self.check_cpus(&self.target(self.platform)?).await?;
        // Left by a build that was interrupted.
        let _ = std::fs::remove_dir_all(self.directory.binaries());
        let program = self.compile(&first, 0).await?;
        let started = Instant::now();
        let manifest = project::describe(&program, &self.package.directory, self.config).await?;
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

    /// Processors that are named wrongly are told before anything is compiled.
    async fn check_cpus(&self, target: &Target) -> Result<(), Failure> {
        for name in self.config.build.target_cpus() {
            self.toolchain.check_cpu(&self.package.directory, &target.triple, name).await?;
        }
        Ok(())
    }

    fn plan(&self, manifest: &Manifest) -> Result<Plan, Failure> {
        let commands: Vec<String> =
            self.config.commands().into_iter().map(|command| command.worker_type.name).collect();
        let features = self.features();
        let (target, cuda) = (self.target(self.platform)?, self.cuda(manifest)?);
        let inputs = Inputs {
            manifest,
            commands: &commands,
            settings: &self.config.build,
            features: &features,
            target: &target,
            cuda: &cuda,
        };
        Ok(inputs.plan(&self.request.selection)?)
    }

    fn cuda(&self, _manifest: &Manifest) -> Result<Cuda, Failure> {
        Ok(Cuda::Without("not yet".to_owned()))
    }

    /// Has cargo compile a binary, and keeps a copy: the next one has the same name.
    async fn compile(&self, variant: &Variant, number: usize) -> Result<PathBuf, Failure> {
        let started = Instant::now();
        let compiler = Compiler {
            package: self.package,
            toolchain: &self.toolchain,
            profile: &self.request.profile,
            cargo_home: cargo_home(),
        };
        let built = project::build(self.package, &compiler.build(variant, &[])).await?;
        let directory = self.directory.binaries().join(number.to_string());
        let program = directory.join(&self.package.binary);
        let copy = async {
            tokio::fs::create_dir_all(&directory).await?;
            tokio::fs::copy(&built, &program).await
        };
        copy.await.map_err(|error| {
            Failure::failed(format!("cannot copy {} to {}: {error}", built.display(), program.display()))
        })?;
        let (binary, time) = (&self.package.binary, seconds(started.elapsed()));
        self.output.status("Compiled", &format!("{binary} for {variant} ({time})"));
        Ok(program)
    }
}

/// One build of a crate at a time: another one would take its binaries away.
async fn lock(directory: &BuildDirectory, output: &Output) -> Result<File, Failure> {
    let path = directory.lock();
    let problem = |error: std::io::Error| Failure::failed(format!("cannot lock {}: {error}", path.display()));
    let file = File::create(&path).map_err(problem)?;
    match file.try_lock() {
        Ok(()) => return Ok(file),
        Err(TryLockError::WouldBlock) => {}
        Err(TryLockError::Error(error)) => return Err(problem(error)),
    }
    output.status("Waiting", "for another build of this crate");
    // The other one's end is seen by its lock alone.
    while let Err(error) = file.try_lock() {
        match error {
            TryLockError::WouldBlock => tokio::time::sleep(BETWEEN_LOOKS).await,
            TryLockError::Error(error) => return Err(problem(error)),
        }
    }
    Ok(file)
}

fn check_clean(git: Option<&Commit>, workspace: &Path) -> Result<(), Failure> {
    let place = workspace.display();
    match git {
        None => {
            Err(Failure::unusable(format!("--require-clean: {place} is in no git repository with a commit")))
        }
        Some(commit) if commit.dirty => {
            Err(Failure::unusable(format!("--require-clean: {place} has changes that are in no commit"))
                .hint(format!("see them: git -C {place} status")))
        }
        Some(_) => Ok(()),
    }
}

fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}
