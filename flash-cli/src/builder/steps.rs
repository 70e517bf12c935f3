//! The first steps of a build: check, compile, describe. `make` has the others.
use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs::{File, TryLockError},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use flash_image::{IncludeError, Included, included};
use flash_protocol::manifest::Manifest;
use flash_text::error_chain;

use super::{
    cargo_home::cargo_home,
    compile::Compiler,
    git::{Commit, unknown_file},
    images::ImagesError,
    plan::{Cuda, Inputs, Plan, Variant},
    record::BuildDirectory,
    request::{Request, RunsOn, Sources},
    toolchain::{Platform, Target, Toolchain},
};
use crate::{
    exit::{Failure, FailureCode},
    output::Output,
    project::{self, BuiltApp, Config, DescribeError, LastManifest, Package, SourceState},
};

/// The interval of checks of a lock that another build holds.
const BETWEEN_LOOKS: Duration = Duration::from_millis(100);

/// The app, compiled.
pub(super) struct Compiled {
    pub manifest: Manifest,
    pub plan: Plan,
    /// Copies of the binaries, and their inputs.
    pub binaries: BTreeMap<Variant, BuiltApp>,
}

/// One build in progress.
pub(crate) struct Build<'a> {
    pub(super) request: &'a Request,
    pub(super) package: &'a Package,
    pub(super) config: &'a Config,
    pub(super) output: &'a Output,
    pub(super) toolchain: Toolchain,
    pub(super) platform: Platform,
    pub(super) git: Option<Commit>,
    pub(super) directory: BuildDirectory,
    /// The processor of binaries for which the project names none; `None` for the target's default.
    pub(super) own_cpu: Option<String>,
    /// Held as long as this value lives.
    _lock: File,
}

impl<'a> Build<'a> {
    /// Checks everything that can be checked before slow steps.
    ///
    /// # Errors
    /// What is missing, and how to get it.
    pub(crate) async fn prepare(
        request: &'a Request,
        package: &'a Package,
        config: &'a Config,
        output: &'a Output,
    ) -> Result<Self, Failure> {
        let toolchain = Toolchain::find(&package.directory).await?;
        let platform = request.platform.or_else(Platform::of_this_machine).ok_or_else(|| {
            Failure::unusable(format!(
                "flash builds no images for this machine's platform ({})",
                std::env::consts::ARCH
            ))
            .hint("choose a platform: flash build --platform linux/amd64")
        })?;
        let directory = BuildDirectory::of(&package.directory);
        directory.create()?;
        let lock = lock(&directory, output).await?;
        directory.sweep();
        // Checked once the lock is held: waiting for it can take as long as a build.
        let git = commit(package, request.sources, output).await?;
        let build = Self {
            request,
            package,
            config,
            output,
            toolchain,
            platform,
            git,
            directory,
            own_cpu: None,
            _lock: lock,
        };
        build.check_included().await?;
        build.check_names().await?;
        Ok(build)
    }

    fn target(&self, platform: Platform) -> Result<Target, Failure> {
        Ok(self.toolchain.static_target(platform)?)
    }

    /// The variant used to describe an app: without CUDA, for this machine.
    fn first_variant(&self) -> Result<Variant, Failure> {
        let platform = Platform::of_this_machine().unwrap_or(self.platform);
        let target_cpu = match platform == self.platform {
            true => self.config.build.target_cpu.clone().or_else(|| self.own_cpu.clone()),
            // The setting is for the other machine.
            false => None,
        };
        let features = self.features().into_iter().collect();
        Ok(Variant { target: self.target(platform)?, features, target_cpu, capabilities: None })
    }

    fn features(&self) -> Vec<String> {
        self.config.build.features.iter().chain(&self.request.features).cloned().collect()
    }

    /// Compiles what the plan needs. The plan is based on the first binary's manifest.
    pub(super) async fn compile_all(&self) -> Result<Compiled, Failure> {
        self.check_cpus(&self.target(self.platform)?).await?;
        // Left by an interrupted build.
        let _ = std::fs::remove_dir_all(self.directory.binaries());
        let (first, built, manifest) = self.first().await?;
        let toolkit = self.toolkit(&manifest).await?;
        let own_libraries = self.own_libraries(&toolkit);
        let plan = self.plan(&manifest, &self.cuda(&toolkit)?)?;
        self.warn_without_cuda(&plan, &toolkit);
        let mut binaries = BTreeMap::from([(first, built)]);
        for variant in plan.variants() {
            if !binaries.contains_key(variant) {
                let toolkit = self.cuda_toolchain(variant, &toolkit).await?;
                let for_cargo = toolkit.as_ref().map(|toolkit| toolkit.environment()).unwrap_or_default();
                let own = (&*for_cargo, &*own_libraries);
                let built = self.compile(variant, own, binaries.len()).await?;
                // Outside its image, it finds CUDA's libraries where it was linked with them.
                let libraries =
                    toolkit.map(|toolkit| ("LD_LIBRARY_PATH".to_owned(), toolkit.libraries().into()));
                self.check_same(variant, &built.program, libraries.as_slice(), &manifest).await?;
                binaries.insert(variant.clone(), built);
            }
        }
        Ok(Compiled { manifest, plan, binaries })
    }

    /// The binary that describes the app, and its manifest.
    async fn first(&self) -> Result<(Variant, BuiltApp, Manifest), Failure> {
        let mut first = self.first_variant()?;
        // Examined before cargo starts: a file saved during the build may not be part of it.
        let sources = SourceState::of(self.package).await;
        loop {
            let built = self.compile(&first, (&[], &[]), 0).await?;
            let started = Instant::now();
            let place = &self.package.directory;
            let manifest = match project::describe(&built.program, place, &[], self.config).await {
                Err(DescribeError::OtherProcessor(_))
                    if first.target_cpu.as_deref() != Some(first.target.oldest_cpu()) =>
                {
                    self.output
                        .status("Compiling", "again, for this machine: it cannot run the images' binary");
                    first.target_cpu = Some(first.target.oldest_cpu().to_owned());
                    continue;
                }
                described => described?,
            };
            LastManifest::keep(place, sources, &manifest);
            let (workers, functions) = (manifest.workers.len(), manifest.functions.len());
            let (workers, functions) = (counted(workers, "worker type"), counted(functions, "function"));
            let (app, time) = (&manifest.app.name, seconds(started.elapsed()));
            self.output.status("Described", &format!("{app}: {workers}, {functions} ({time})"));
            return Ok((first, built, manifest));
        }
    }

    /// Whether a binary has the same functions as the images' manifest, if it starts here.
    async fn check_same(
        &self,
        variant: &Variant,
        program: &Path,
        environment: &[(String, OsString)],
        manifest: &Manifest,
    ) -> Result<(), Failure> {
        if Platform::of_this_machine() != Some(self.platform) {
            return Ok(());
        }
        match project::describe(program, &self.package.directory, environment, self.config).await {
            Ok(own) if own == *manifest => Ok(()),
            Ok(_) => {
                Err(Failure::failed(format!("the binary for {variant} has other functions than the first"))
                    .hint("cargo features must not add, change or remove `#[remote]` items"))
            }
            Err(DescribeError::OtherProcessor(_)) => {
                self.output.warning(&format!("cannot test the binary for {variant} on this machine"));
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Files that cannot be included are reported before anything is compiled, and with `--require-clean` those
    /// that are in no commit.
    async fn check_included(&self) -> Result<(), Failure> {
        let (directory, binary) = (self.package.directory.clone(), self.package.binary.clone());
        let patterns: Vec<Vec<String>> = self.config.build.include_lists().map(<[String]>::to_vec).collect();
        let files = on_thread(move || {
            let lists = patterns.iter().map(|patterns| included(&directory, patterns, &binary));
            lists.collect::<Result<Vec<Included>, IncludeError>>()
        })
        .await?
        .map_err(ImagesError::Include)?;
        if self.request.sources == Sources::Any {
            return Ok(());
        }
        let paths = files.iter().flat_map(|list| &list.files).map(|file| Path::new(&file.path));
        match unknown_file(&self.package.directory, paths).await {
            Ok(None) => Ok(()),
            Ok(Some(file)) => Err(Failure::unusable(format!(
                "--require-clean: `{}` is included but in no commit",
                file.display()
            ))),
            Err(error) => Err(Failure::of(FailureCode::Unusable, &error)),
        }
    }

    /// Worker types that the app did not have at its last build are reported before anything is compiled. If no
    /// source has changed since, it does not have them now either; otherwise the build will tell.
    async fn check_names(&self) -> Result<(), Failure> {
        let Some(last) = LastManifest::load(&self.package.directory) else { return Ok(()) };
        let checked = || {
            self.config.check_against(&last.manifest)?;
            self.request.selection.of(&last.manifest, &self.commands())?;
            Ok(())
        };
        match checked() {
            Err::<(), Failure>(failure) if last.is_current(self.package).await => Err(failure),
            Err(failure) => {
                let reason = failure.message();
                self.output
                    .warning(&format!("{reason} (as of the last build; the sources have changed since)"));
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }

    /// Unknown processors are reported before anything is compiled.
    async fn check_cpus(&self, target: &Target) -> Result<(), Failure> {
        for name in self.config.build.target_cpus() {
            self.toolchain.check_cpu(&self.package.directory, &target.triple, name).await?;
        }
        Ok(())
    }

    fn plan(&self, manifest: &Manifest, cuda: &Cuda) -> Result<Plan, Failure> {
        let (commands, features) = (self.commands(), self.features());
        let target = self.target(self.platform)?;
        let settings = &self.config.build;
        let inputs = Inputs {
            manifest,
            own_cpu: self.own_cpu.as_deref(),
            commands: &commands,
            settings,
            features: &features,
            target: &target,
            cuda,
            own_gpus: match &self.request.runs_on {
                RunsOn::ThisMachine(capabilities) => Some(capabilities),
                RunsOn::Images => None,
            },
        };
        Ok(inputs.plan(&self.request.selection)?)
    }

    /// Worker types that are programs.
    pub(super) fn commands(&self) -> Vec<String> {
        self.config.commands().into_iter().map(|command| command.worker_type.name).collect()
    }

    /// Compiles a binary with cargo and keeps a copy, because the next one has the same name.
    async fn compile(
        &self,
        variant: &Variant,
        (cuda, libraries): (&[(String, OsString)], &[PathBuf]),
        number: usize,
    ) -> Result<BuiltApp, Failure> {
        let started = Instant::now();
        let compiler = Compiler {
            package: self.package,
            toolchain: &self.toolchain,
            profile: &self.request.profile,
            sources: self.request.sources,
            cargo_home: cargo_home(),
            libraries,
        };
        project::print_first_build(self.package, Some(&variant.target.triple), compiler.profile, self.output);
        let BuiltApp { program: built, packages, files } =
            project::build(self.package, &compiler.build(variant, cuda), self.output).await?;
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
        Ok(BuiltApp { program, packages, files })
    }
}

/// Runs work on files where it blocks no other task.
pub(super) async fn on_thread<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Failure> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| Failure::failed(format!("a task failed: {error}")))
}

/// `1 image`, `2 images`.
pub(super) fn counted(number: usize, what: &str) -> String {
    if number == 1 { format!("1 {what}") } else { format!("{number} {what}s") }
}

/// One build of a crate at a time: another one would remove its binaries.
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
    // Only the lock shows when the other one ends.
    while let Err(error) = file.try_lock() {
        match error {
            TryLockError::WouldBlock => tokio::time::sleep(BETWEEN_LOOKS).await,
            TryLockError::Error(error) => return Err(problem(error)),
        }
    }
    Ok(file)
}

/// The commit of the sources, if known.
pub(super) async fn commit(
    package: &Package,
    wanted: Sources,
    output: &Output,
) -> Result<Option<Commit>, Failure> {
    // Crates beside the workspace are built too.
    let beside = package.sources.iter().filter(|source| !source.starts_with(&package.workspace));
    let directories: Vec<PathBuf> = std::iter::once(&package.workspace).chain(beside).cloned().collect();
    let commit = Commit::of(&directories).await;
    let place = package.workspace.display();
    match (commit, wanted) {
        (Ok(commit), Sources::Any) => Ok(commit),
        (Err(error), Sources::Any) => {
            output.warning(&format!("cannot determine the commit: {}", error_chain(&error)));
            Ok(None)
        }
        (Err(error), Sources::Committed) => Err(Failure::of(FailureCode::Unusable, &error)),
        (Ok(None), Sources::Committed) => Err(Failure::unusable(format!(
            "--require-clean: {place} is not in a git repository with a commit"
        ))),
        (Ok(Some(commit)), Sources::Committed) if commit.dirty => {
            Err(Failure::unusable(format!("--require-clean: {place} has uncommitted changes"))
                .hint(format!("see them: git -C {place} status")))
        }
        (Ok(commit), Sources::Committed) => Ok(commit),
    }
}

pub(super) fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}
