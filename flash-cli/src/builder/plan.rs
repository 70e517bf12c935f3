//! Which binaries a build needs, and which image each goes into. A pure decision: compiles and reads nothing.
use std::{collections::BTreeSet, fmt};

use flash_protocol::{
    catalogue::ComputeCapability,
    manifest::{ComputeEntry, Manifest, WorkerType},
};
use flash_text::nearest;
use oci_spec::distribution::Reference;

use super::toolchain::{Linking, Target};
use crate::project::BuildSettings;

/// What the user requested.
#[derive(Debug, Clone, Default)]
pub(crate) struct Selection {
    /// Worker types by name; empty means all.
    pub workers: Vec<String>,
    /// Only those on this hardware.
    pub hardware: Option<Hardware>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hardware {
    Cpu,
    Gpu,
}

/// Whether GPU worker types are built with CUDA.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Cuda {
    /// With a compiler, for this target.
    With(Target),
    /// Without: they run their models on the CPU.
    Without,
}

/// One binary. Worker types with equal variants share it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Variant {
    pub target: Target,
    pub features: BTreeSet<String>,
    /// The target's default if not set.
    pub target_cpu: Option<String>,
    /// What its kernels are compiled for; `None` for a binary without GPU code.
    pub capabilities: Option<BTreeSet<ComputeCapability>>,
}

impl fmt::Display for Variant {
    /// `x86_64-unknown-linux-gnu (static, x86-64-v3)`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let linking = match self.target.linking {
            Linking::StaticMusl | Linking::StaticGlibc => "static",
            Linking::Dynamic => "dynamic",
        };
        write!(f, "{} ({linking}", self.target.triple)?;
        if let Some(cpu) = &self.target_cpu {
            write!(f, ", {cpu}")?;
        }
        if let Some(capabilities) = &self.capabilities {
            let capabilities: Vec<String> = capabilities.iter().map(|known| known.to_string()).collect();
            write!(f, ", CUDA for {}", capabilities.join(" "))?;
        }
        f.write_str(")")
    }
}

/// One image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PlannedImage {
    pub worker: String,
    pub variant: Variant,
    /// Patterns of files.
    pub include: Vec<String>,
    /// What is below the app; nothing if not set.
    pub base: Option<PlannedBase>,
    /// Programs that it must have.
    pub needs: Vec<String>,
}

/// The base of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum PlannedBase {
    /// With CUDA's libraries; this version's default if no image is named.
    Cuda(Option<Reference>),
    /// The one that the worker type names, for other programs.
    Own(Reference),
}

/// What to build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Plan {
    pub images: Vec<PlannedImage>,
    /// GPU worker types whose images will have no GPU code.
    pub without_cuda: Vec<String>,
}

impl Plan {
    /// The required binaries, without duplicates.
    pub(crate) fn variants(&self) -> BTreeSet<&Variant> {
        self.images.iter().map(|image| &image.variant).collect()
    }
}

/// Why there is nothing to build.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum PlanError {
    #[error("the app has no worker type `{name}`{near}")]
    UnknownWorker { name: String, near: String },
    #[error("`{name}` is a program in flash.toml: flash builds no image for it")]
    Command { name: String },
    #[error(
        "`{name}` is built with CUDA, whose libraries are the base of its image: it cannot have another `base`"
    )]
    BaseWithCuda { name: String },
    #[error("the app has no {} worker type", match .0 { Hardware::Cpu => "CPU", Hardware::Gpu => "GPU" })]
    NoneOf(Hardware),
}

/// The settings that affect a plan.
pub(crate) struct Inputs<'a> {
    /// The processor of binaries for which the project names none; `None` for the target's default.
    pub own_cpu: Option<&'a str>,
    pub manifest: &'a Manifest,
    /// Worker types of `flash.toml` that are programs.
    pub commands: &'a [String],
    pub settings: &'a BuildSettings,
    /// Cargo features of every binary.
    pub features: &'a [String],
    /// What binaries without CUDA are compiled for.
    pub target: &'a Target,
    pub cuda: &'a Cuda,
    /// What the GPUs of this machine can run, for binaries that run here and in no image.
    pub own_gpus: Option<&'a BTreeSet<ComputeCapability>>,
}

impl Inputs<'_> {
    /// Makes the plan.
    ///
    /// # Errors
    /// When something requested does not exist.
    pub(crate) fn plan(&self, selection: &Selection) -> Result<Plan, PlanError> {
        let chosen = selection.of(self.manifest, self.commands)?;
        let images: Vec<PlannedImage> =
            chosen.iter().map(|worker| self.image(worker)).collect::<Result<_, _>>()?;
        let is_without = |(worker, image): &(&&WorkerType, &PlannedImage)| {
            hardware_of(worker) == Hardware::Gpu && image.variant.capabilities.is_none()
        };
        let without = chosen.iter().zip(&images).filter(is_without);
        let without_cuda = without.map(|(worker, _)| worker.name.clone()).collect();
        Ok(Plan { images, without_cuda })
    }

    fn image(&self, worker: &WorkerType) -> Result<PlannedImage, PlanError> {
        let own = self.settings.worker(&worker.name);
        let variant = self.variant(worker);
        let has_cuda = variant.capabilities.is_some() && self.own_gpus.is_none();
        let base = match (own.base, has_cuda) {
            (Some(_), true) => return Err(PlanError::BaseWithCuda { name: worker.name.clone() }),
            (None, true) => Some(PlannedBase::Cuda(self.settings.cuda_base.clone())),
            (base, false) => base.map(PlannedBase::Own),
        };
        let include = own.include.unwrap_or_else(|| self.settings.include.clone());
        Ok(PlannedImage { worker: worker.name.clone(), variant, include, base, needs: own.needs })
    }

    fn variant(&self, worker: &WorkerType) -> Variant {
        let own = self.settings.worker(&worker.name);
        let target_cpu = own
            .target_cpu
            .or_else(|| self.settings.target_cpu.clone())
            .or_else(|| self.own_cpu.map(str::to_owned));
        let mut features: BTreeSet<String> = self.features.iter().cloned().collect();
        match (hardware_of(worker), self.cuda) {
            (Hardware::Gpu, Cuda::With(target)) => {
                features.insert(self.settings.cuda_feature.clone());
                let said = self.own_gpus.cloned();
                let said = said.or(own.compute_capabilities.map(|said| said.into_iter().collect()));
                let capabilities =
                    said.unwrap_or_else(|| worker.compute.compute_capabilities().into_iter().collect());
                Variant { target: target.clone(), features, target_cpu, capabilities: Some(capabilities) }
            }
            _ => Variant { target: self.target.clone(), features, target_cpu, capabilities: None },
        }
    }
}

/// The hardware of a worker type.
pub(crate) fn hardware_of(worker: &WorkerType) -> Hardware {
    match worker.compute {
        ComputeEntry::Cpu { .. } => Hardware::Cpu,
        ComputeEntry::Gpu { .. } => Hardware::Gpu,
    }
}

impl Selection {
    /// The selected worker types. `commands` are the programs in `flash.toml`.
    ///
    /// # Errors
    /// When something requested does not exist.
    pub(crate) fn of<'a>(
        &self,
        manifest: &'a Manifest,
        commands: &[String],
    ) -> Result<Vec<&'a WorkerType>, PlanError> {
        for name in &self.workers {
            if commands.contains(name) {
                return Err(PlanError::Command { name: name.clone() });
            }
            if manifest.worker(name).is_none() {
                let near = nearest(name, manifest.workers.iter().map(|worker| &*worker.name));
                return Err(PlanError::UnknownWorker { name: name.clone(), near });
            }
        }
        let is_named = |worker: &&WorkerType| self.workers.is_empty() || self.workers.contains(&worker.name);
        let named: Vec<&WorkerType> = manifest.workers.iter().filter(is_named).collect();
        let Some(hardware) = self.hardware else { return Ok(named) };
        let fitting: Vec<&WorkerType> =
            named.into_iter().filter(|worker| hardware_of(worker) == hardware).collect();
        if fitting.is_empty() { Err(PlanError::NoneOf(hardware)) } else { Ok(fitting) }
    }
}

#[cfg(test)]
mod tests {
    use flash_protocol::{
        CpuInstance, GpuPool,
        manifest::{App, EndpointKind, ScalerEntry},
    };

    use super::*;
    use crate::project::Config;

    fn worker(name: &str, compute: ComputeEntry) -> WorkerType {
        WorkerType {
            name: name.to_owned(),
            kind: EndpointKind::Queue,
            compute,
            workers_min: 0,
            workers_max: 1,
            idle_timeout_seconds: 5,
            execution_timeout_seconds: 600,
            max_concurrency: 1,
            scaler: ScalerEntry::QueueDelay { seconds: 4 },
            buffer: 0,
            lifetime: Default::default(),
            data_centers: Vec::new(),
            disk_gib: None,
            shm_mib: None,
            vram_gib: None,
            http: None,
            max_body_mib: None,
            request_timeout_seconds: None,
            model: None,
            start_timeout_seconds: None,
        }
    }

    fn manifest() -> Manifest {
        let cpu = || ComputeEntry::Cpu { instances: vec![CpuInstance::Cpu3c_1_2] };
        let gpu = ComputeEntry::Gpu { pools: vec![GpuPool::Ada24], types: Vec::new(), count: 1 };
        Manifest {
            version: 1,
            app: App { name: "app".to_owned(), version: "1.0.0".to_owned() },
            sdk_version: "0.1.0".to_owned(),
            workers: vec![worker("one", cpu()), worker("two", cpu()), worker("model", gpu)],
            functions: Vec::new(),
            definitions: serde_json::Map::new(),
        }
    }

    fn target(linking: Linking) -> Target {
        Target { triple: "x86_64-unknown-linux-gnu".to_owned(), linking }
    }

    fn plan(settings: &str, cuda: &Cuda, selection: &Selection) -> Result<Plan, PlanError> {
        let config = Config::parse(settings, std::path::Path::new("flash.toml")).unwrap();
        let target = target(Linking::StaticGlibc);
        let inputs = Inputs {
            own_cpu: None,
            manifest: &manifest(),
            commands: &["script".to_owned()],
            settings: &config.build,
            features: &[],
            target: &target,
            cuda,
            own_gpus: None,
        };
        inputs.plan(selection)
    }

    #[test]
    fn worker_types_that_are_compiled_alike_share_a_binary() {
        let all = plan("", &Cuda::Without, &Selection::default()).unwrap();
        assert_eq!((all.images.len(), all.variants().len()), (3, 1));
        assert_eq!(all.without_cuda, ["model"]);
        let settings = "[build.workers.two]\ntarget_cpu = \"x86-64-v3\"\ninclude = [\"data/**\"]\n";
        let apart = plan(settings, &Cuda::Without, &Selection::default()).unwrap();
        assert_eq!(apart.variants().len(), 2);
        assert_eq!(apart.images[1].include, ["data/**"]);
        assert!(apart.images[0].include.is_empty());
    }

    #[test]
    fn a_gpu_worker_type_is_compiled_for_its_pools_or_for_what_is_said() {
        let cuda = Cuda::With(target(Linking::Dynamic));
        let model = |settings: &str| {
            let plan = plan(settings, &cuda, &Selection::default()).unwrap();
            assert!(plan.without_cuda.is_empty());
            plan.images[2].variant.clone()
        };
        let own = model("");
        assert!(own.features.contains("cuda"));
        assert_eq!(own.to_string(), "x86_64-unknown-linux-gnu (dynamic, CUDA for 8.9)");
        let said = model("[build.workers.model]\ncompute_capabilities = [\"9.0\", \"8.0\"]\n");
        assert_eq!(said.to_string(), "x86_64-unknown-linux-gnu (dynamic, CUDA for 8.0 9.0)");
    }

    #[test]
    fn what_runs_on_this_machine_is_compiled_for_its_gpus_and_has_no_base() {
        let settings = "[build.workers.model]\nbase = \"debian:12-slim\"\ncompute_capabilities = [\"9.0\"]\n";
        let config = Config::parse(settings, std::path::Path::new("flash.toml")).unwrap();
        let own = BTreeSet::from(["12.0".parse().unwrap()]);
        let (here, target) = (Cuda::With(target(Linking::Dynamic)), target(Linking::StaticGlibc));
        let inputs = Inputs {
            own_cpu: None,
            manifest: &manifest(),
            commands: &[],
            settings: &config.build,
            features: &[],
            target: &target,
            cuda: &here,
            own_gpus: Some(&own),
        };
        let model = &inputs.plan(&Selection::default()).unwrap().images[2];
        assert_eq!(model.variant.capabilities, Some(own.clone()));
        assert!(matches!(model.base, Some(PlannedBase::Own(_))), "{:?}", model.base);
    }

    #[test]
    fn a_base_is_for_one_worker_type_and_not_beside_cuda() {
        let settings = "[build.workers.two]\nbase = \"debian:12-slim\"\nneeds = [\"ffmpeg\"]\n";
        let own = plan(settings, &Cuda::Without, &Selection::default()).unwrap().images;
        assert_eq!((&own[0].base, &own[2].base), (&None, &None));
        let debian = "debian:12-slim".parse().unwrap();
        assert_eq!(
            (&own[1].base, &*own[1].needs),
            (&Some(PlannedBase::Own(debian)), &["ffmpeg".to_owned()][..])
        );

        let settings = "[build.workers.model]\nbase = \"debian:12-slim\"\n";
        assert!(plan(settings, &Cuda::Without, &Selection::default()).is_ok());
        let cuda = Cuda::With(target(Linking::Dynamic));
        let refused = plan(settings, &cuda, &Selection::default()).unwrap_err();
        assert_eq!(refused, PlanError::BaseWithCuda { name: "model".to_owned() });
        let images = plan("", &cuda, &Selection::default()).unwrap().images;
        assert_eq!(images[2].base, Some(PlannedBase::Cuda(None)));
    }

    #[test]
    fn what_is_asked_for_must_exist() {
        let ask = |workers: &[&str], hardware| Selection {
            workers: workers.iter().map(|&name| name.to_owned()).collect(),
            hardware,
        };
        let names = |selection: &Selection| {
            let plan = plan("", &Cuda::Without, selection)?;
            Ok(plan.images.into_iter().map(|image| image.worker).collect::<Vec<_>>())
        };
        assert_eq!(names(&ask(&["two"], None)).unwrap(), ["two"]);
        assert_eq!(names(&ask(&[], Some(Hardware::Gpu))).unwrap(), ["model"]);
        assert_eq!(names(&ask(&["two"], Some(Hardware::Gpu))), Err(PlanError::NoneOf(Hardware::Gpu)));
        assert!(matches!(names(&ask(&["tow"], None)), Err(PlanError::UnknownWorker { .. })));
        assert!(matches!(names(&ask(&["script"], None)), Err(PlanError::Command { .. })));
    }
}
