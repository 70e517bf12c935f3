//! The steps of a build, in order: look, compile, describe, assemble, verify, record.
use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs::{File, TryLockError},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use flash_sdk::manifest::Manifest;
use oci_spec::image::Descriptor;
use serde::Serialize;

use super::{
    compile::{Compiler, cargo_home},
    cuda::{CudaHome, DEFAULT_BASE, Kernels, Search, toolchains_in},
    git::Commit,
    images::{Assembled, ImageSources},
    materials,
    plan::{Cuda, Hardware, Inputs, Plan, Selection, Variant, hardware_of},
    progress::Sums,
    record::{BuildDirectory, Record},
    toolchain::{Platform, Target, Toolchain},
};
use crate::{
    error_chain::error_chain,
    exit::{Code, Failure},
    image::{
        Base, Image, Layout, LayoutError, Verifier,
        registry::{self, Logins, Patience, Registry},
    },
    output::Output,
    project::{self, BuiltApp, Config, CudaPolicy, Package},
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
    /// Copies of the binaries, and what they were made of.
    binaries: BTreeMap<Variant, BuiltApp>,
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
        let built = self.compile(&first, &[], 0).await?;
        let started = Instant::now();
        let manifest = project::describe(&built.program, &self.package.directory, self.config).await?;
        let app = &manifest.app.name;
        let (workers, functions) = (manifest.workers.len(), manifest.functions.len());
        self.output.status(
            "Described",
            &format!("{app}: {workers} worker types, {functions} functions ({})", seconds(started.elapsed())),
        );
        let toolkit = self.toolkit(&manifest).await?;
        let plan = self.plan(&manifest, &self.cuda(&toolkit)?)?;
        if let Err(reason) = &toolkit {
            self.warn_without_cuda(&plan, reason);
        }
        let mut binaries = BTreeMap::from([(first, built)]);
        for variant in plan.variants() {
            if !binaries.contains_key(variant) {
                let cuda = self.cuda_environment(variant, &toolkit).await?;
                let built = self.compile(variant, &cuda, binaries.len()).await?;
                self.check_same(variant, &built.program, &manifest).await?;
                binaries.insert(variant.clone(), built);
            }
        }
        Ok(Compiled { manifest, plan, binaries })
    }

    /// Whether a binary has the functions that images are made for, as far as it starts here.
    async fn check_same(
        &self,
        variant: &Variant,
        program: &Path,
        manifest: &Manifest,
    ) -> Result<(), Failure> {
        if Platform::of_this_machine() != Some(self.platform) {
            return Ok(());
        }
        match project::describe(program, &self.package.directory, self.config).await {
            Ok(own) if own == *manifest => Ok(()),
            Ok(_) => {
                Err(Failure::failed(format!("the binary for {variant} has other functions than the first"))
                    .hint("no cargo feature may add, change or remove `#[remote]` items"))
            }
            // It may need a processor that this machine does not have.
            Err(error) if variant.target_cpu.is_some() => {
                let reason = error_chain(&error);
                self.output.warning(&format!("the binary for {variant} could not be tried here: {reason}"));
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Processors that are named wrongly are told before anything is compiled.
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
        let inputs =
            Inputs { manifest, commands: &commands, settings, features: &features, target: &target, cuda };
        Ok(inputs.plan(&self.request.selection)?)
    }

    /// Worker types that are programs of their own.
    fn commands(&self) -> Vec<String> {
        self.config.commands().into_iter().map(|command| command.worker_type.name).collect()
    }

    /// What GPU worker types are built with: CUDA's toolkit, or why there is none.
    async fn toolkit(&self, manifest: &Manifest) -> Result<Result<CudaHome, String>, Failure> {
        let chosen = self.request.selection.of(manifest, &self.commands())?;
        if chosen.iter().all(|worker| hardware_of(worker) == Hardware::Cpu) {
            return Ok(Err("no GPU worker type is built".to_owned()));
        }
        let settings = &self.config.build;
        let policy = self.request.cuda.unwrap_or(settings.cuda);
        if policy == CudaPolicy::Never {
            return Ok(Err("flash.toml says `cuda = \"never\"`".to_owned()));
        }
        if !self.package.features.contains(&settings.cuda_feature) {
            let reason = format!("crate `{}` has no feature `{}`", self.package.name, settings.cuda_feature);
            return match policy {
                CudaPolicy::Require => Err(Failure::unusable(reason)
                    .hint("add it, or name another with `cuda_feature` under [build] in flash.toml")),
                _ => Ok(Err(reason)),
            };
        }
        let home = settings.cuda_home.clone();
        match on_thread(move || CudaHome::find(&Search::here(home))).await? {
            Ok(home) => Ok(Ok(home)),
            Err(error) if policy == CudaPolicy::Require => Err(error.into()),
            Err(error) => Ok(Err(error_chain(&error))),
        }
    }

    fn cuda(&self, toolkit: &Result<CudaHome, String>) -> Result<Cuda, Failure> {
        match toolkit {
            Ok(_) => Ok(Cuda::With(self.toolchain.dynamic_target(self.platform)?)),
            Err(reason) => Ok(Cuda::Without(reason.clone())),
        }
    }

    fn warn_without_cuda(&self, plan: &Plan, reason: &str) {
        for worker in &plan.without_cuda {
            self.output.warning(&format!(
                "{worker} is built without CUDA and runs its models on the CPU: {reason}; `flash build --gpu` \
                 says how to change that"
            ));
        }
    }

    /// The variables that bring CUDA's compiler before cargo.
    async fn cuda_environment(
        &self,
        variant: &Variant,
        toolkit: &Result<CudaHome, String>,
    ) -> Result<Vec<(String, OsString)>, Failure> {
        let (Some(capabilities), Ok(home)) = (&variant.capabilities, toolkit) else { return Ok(Vec::new()) };
        let kernels = Kernels::new(capabilities.iter().copied())?;
        let (home, parent) = (home.clone(), toolchains_in(&self.package.target_directory));
        let toolchain = on_thread(move || home.toolchain(&kernels, &parent)).await??;
        Ok(toolchain.environment())
    }

    /// Has cargo compile a binary, and keeps a copy: the next one has the same name.
    async fn compile(
        &self,
        variant: &Variant,
        cuda: &[(String, OsString)],
        number: usize,
    ) -> Result<BuiltApp, Failure> {
        let started = Instant::now();
        let compiler = Compiler {
            package: self.package,
            toolchain: &self.toolchain,
            profile: &self.request.profile,
            cargo_home: cargo_home(),
        };
        let BuiltApp { program: built, packages } =
            project::build(self.package, &compiler.build(variant, cuda)).await?;
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
        Ok(BuiltApp { program, packages })
    }
}

/// How long the steps took, in seconds.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub(crate) struct StepSeconds {
    /// Cargo's part, and the app's description of itself.
    pub compile: f64,
    pub assemble: f64,
    pub verify: f64,
    /// 0 when nothing was pushed.
    pub push: f64,
}

/// What a build made.
pub(crate) struct Built {
    pub seconds: StepSeconds,
    pub record: Record,
    pub directory: BuildDirectory,
    pub layout: Layout,
    pub images: Vec<Image>,
}

impl Build<'_> {
    /// Makes the images and the record of them.
    ///
    /// # Errors
    /// When a step fails; then the images and the record of the build before stay.
    pub(crate) async fn make(&self) -> Result<Built, Failure> {
        let compiling = Instant::now();
        let Compiled { manifest, plan, binaries } = self.compile_all().await?;
        let compile = compiling.elapsed();
        let layout =
            Layout::create(&self.directory.images()).map_err(|error| Failure::of(Code::Failed, &error))?;
        let sources = ImageSources {
            directory: self.package.directory.clone(),
            binary: self.package.binary.clone(),
            manifest: manifest.clone(),
            binaries: binaries
                .iter()
                .map(|(variant, built)| (variant.clone(), built.program.clone()))
                .collect(),
            cuda_base: self.cuda_base(&plan, &layout).await?,
            platform: self.platform,
            user: self.config.build.user.clone(),
            max_size_mb: self.config.build.max_size_mb,
            profile: self.request.profile.clone(),
        };
        let (started, into) = (Instant::now(), layout.clone());
        let variants = plan.images.iter().map(|image| (image.worker.clone(), image.variant.clone()));
        let variants: Vec<(String, Variant)> = variants.collect();
        let Assembled { images, built, hidden } = on_thread(move || sources.assemble(&plan, &into)).await??;
        for path in hidden {
            self.output
                .warning(&format!("{path} is hidden and stays out of the images: name it in `include`"));
        }
        let (count, assemble) = (counted(images.len(), "image"), started.elapsed());
        self.output.status("Assembled", &format!("{count} ({})", seconds(assemble)));
        let started = Instant::now();
        let (whole, layout_read) = (images.clone(), layout.clone());
        on_thread(move || {
            let mut verifier = Verifier::new(&layout_read);
            whole.iter().try_for_each(|image| verifier.verify(image))
        })
        .await??;
        let verify = started.elapsed();
        self.output.status("Verified", &format!("{count} ({})", seconds(verify)));
        if self.request.materials == Materials::Listed {
            let (package, directory) = (self.package.clone(), self.directory.clone());
            on_thread(move || materials::write(&package, &directory, &variants, &binaries)).await??;
        }
        let mut record = Record::new(manifest, self.git.clone(), self.toolchain.version.clone());
        record.images = built;
        let seconds = StepSeconds {
            compile: compile.as_secs_f64(),
            assemble: assemble.as_secs_f64(),
            verify: verify.as_secs_f64(),
            push: 0.0,
        };
        let built = Built { seconds, record, directory: self.directory.clone(), layout, images };
        built.publish()?;
        // They are in the images now.
        let _ = std::fs::remove_dir_all(self.directory.binaries());
        Ok(built)
    }
}

impl Build<'_> {
    /// Pulls what images with CUDA stand on, if the plan has any.
    async fn cuda_base(&self, plan: &Plan, layout: &Layout) -> Result<Option<Base>, Failure> {
        if plan.images.iter().all(|image| image.variant.capabilities.is_none()) {
            return Ok(None);
        }
        let started = Instant::now();
        let name = match &self.config.build.cuda_base {
            Some(name) => name.clone(),
            None => registry::reference(DEFAULT_BASE)?,
        };
        let from = Registry::of(&name, Logins::of_user(None), Patience::default())?;
        let bar = self.output.progress("Pulling", &name.whole());
        let sums = Sums::default();
        let progress = |progress: registry::Progress| sums.show(progress, &bar);
        let pulled = registry::pull(&from, layout, &name, &self.platform.of_image(), &progress).await?;
        drop(bar);
        let (digest, time) = (&pulled.digest, seconds(started.elapsed()));
        self.output.status("Pulled", &format!("{}@{digest} ({time})", name.whole()));
        Ok(Some(Base::Image { manifest: pulled.manifest, reference: name.whole() }))
    }
}

impl Built {
    /// Makes this build the one that others see.
    fn publish(&self) -> Result<(), Failure> {
        let manifests: Vec<_> = self.images.iter().map(|image| image.manifest.clone()).collect();
        let publish = || {
            self.layout.set_index(&manifests)?;
            self.layout.keep_only(self.images.iter().flat_map(blobs))
        };
        publish().map_err(|error: LayoutError| Failure::of(Code::Failed, &error))?;
        Ok(self.record.save(&self.directory)?)
    }
}

/// All that an image consists of.
fn blobs(image: &Image) -> impl Iterator<Item = &Descriptor> {
    let layers = image.layers.iter().map(|layer| &layer.descriptor);
    [&image.manifest, &image.config].into_iter().chain(&image.base_layers).chain(layers)
}

/// Runs what reads and writes files where it holds up no other task.
async fn on_thread<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Failure> {
    tokio::task::spawn_blocking(work).await.map_err(|error| Failure::failed(format!("a step ended: {error}")))
}

/// `1 image`, `2 images`.
fn counted(number: usize, what: &str) -> String {
    if number == 1 { format!("1 {what}") } else { format!("{number} {what}s") }
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
