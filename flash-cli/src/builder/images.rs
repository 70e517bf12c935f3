//! Turns compiled binaries into images in the layout, checks and records them. Reads and writes files, so it
//! belongs on a blocking thread.
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    path::{Path, PathBuf},
};

use flash_image::{
    AssembleError, Assembler, Base, Binary, DataLayer, Image, ImageSpec, IncludeError, Included, Layout,
    LayoutError, LeftOut, Linkage, included,
};
use flash_protocol::{manifest::Manifest, variables};
use oci_spec::image::{Arch, Os, PlatformBuilder};

use super::{
    bases::Bases,
    plan::{Plan, PlannedImage, Variant},
    record::{BuiltBinary, BuiltImage, ResolvedBase},
    toolchain::{Linking, Platform},
};

/// Bytes in a megabyte, for `max_size_mb`.
const MEGABYTE: u64 = 1_000_000;
/// How many parts of an oversized image are listed.
const LISTED_PARTS: usize = 5;

/// The shared inputs of a build's images.
pub(super) struct ImageSources {
    /// The crate's directory.
    pub directory: PathBuf,
    /// The binary's name.
    pub binary: String,
    pub manifest: Manifest,
    pub binaries: BTreeMap<Variant, PathBuf>,
    pub bases: Bases,
    pub platform: Platform,
    pub user: String,
    pub max_size_mb: u64,
    pub profile: String,
    /// The layers of models, by worker type.
    pub models: BTreeMap<String, DataLayer>,
}

/// The images of a build.
pub(super) struct Assembled {
    pub images: Vec<Image>,
    pub built: Vec<BuiltImage>,
    /// What patterns matched and left out.
    pub left_out: BTreeSet<LeftOut>,
}

/// Why there are no images.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ImagesError {
    #[error(transparent)]
    Include(#[from] IncludeError),
    #[error("cannot build the image of {worker}")]
    Assemble { worker: String, source: AssembleError },
    #[error(transparent)]
    Layout(#[from] LayoutError),
    #[error(
        "the image of {worker} is {} MB compressed, over the limit of {limit_mb} MB; largest parts, unpacked: \
         {largest}",
        size.div_ceil(MEGABYTE)
    )]
    TooLarge { worker: String, size: u64, limit_mb: u64, largest: String },
}

impl ImageSources {
    /// Assembles all images of a plan. The layout's index does not change yet.
    pub(super) fn assemble(&self, plan: &Plan, layout: &Layout) -> Result<Assembled, ImagesError> {
        let mut assembler = Assembler::new(layout);
        let mut included_by: HashMap<&[String], Included> = HashMap::new();
        let mut assembled = Assembled { images: Vec::new(), built: Vec::new(), left_out: BTreeSet::new() };
        for planned in &plan.images {
            if !included_by.contains_key(&*planned.include) {
                let files = included(&self.directory, &planned.include, &self.binary)?;
                assembled.left_out.extend(files.left_out.iter().cloned());
                included_by.insert(&planned.include, files);
            }
            let (base, resolved) = self.bases.of(planned.base.as_ref());
            let spec = self.spec(planned, &included_by[&*planned.include], base);
            let image = assembler
                .assemble(&spec)
                .map_err(|source| ImagesError::Assemble { worker: planned.worker.clone(), source })?;
            self.check_size(&image)?;
            assembled.built.push(self.built(planned, &image, resolved));
            assembled.images.push(image);
        }
        Ok(assembled)
    }

    fn spec(&self, planned: &PlannedImage, files: &Included, base: Base) -> ImageSpec {
        let app = &self.manifest.app;
        let label = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        // Without the commit: the same sources must give the same digest with and without git.
        let labels = BTreeMap::from([
            label("org.opencontainers.image.title", &format!("{}: {}", app.name, planned.worker)),
            label("org.opencontainers.image.version", &app.version),
            label("dev.flash.app", &app.name),
            label("dev.flash.worker", &planned.worker),
        ]);
        ImageSpec {
            name: planned.worker.clone(),
            binary: Binary {
                path: self.binary_of(&planned.variant).to_owned(),
                name: self.binary.clone(),
                linkage: match planned.variant.target.linking {
                    Linking::StaticMusl | Linking::StaticGlibc => Linkage::Static,
                    Linking::Dynamic => Linkage::Dynamic,
                },
            },
            data: self.models.get(&planned.worker).cloned().into_iter().collect(),
            included: files.files.clone(),
            base,
            platform: self.platform.of_image(),
            user: self.user.clone(),
            env: self.models.get(&planned.worker).map(model_variable).into_iter().collect(),
            labels,
        }
    }

    fn binary_of(&self, variant: &Variant) -> &Path {
        self.binaries.get(variant).map(PathBuf::as_path).expect("every variant of the plan was compiled")
    }

    fn check_size(&self, image: &Image) -> Result<(), ImagesError> {
        if image.compressed <= self.max_size_mb.saturating_mul(MEGABYTE) {
            return Ok(());
        }
        let parts = image.parts.iter().take(LISTED_PARTS);
        let megabytes = |bytes: u64| format!("{:.1} MB", bytes as f64 / MEGABYTE as f64);
        let largest: Vec<String> =
            parts.map(|part| format!("{} {}", part.name, megabytes(part.bytes))).collect();
        Err(ImagesError::TooLarge {
            worker: image.name.clone(),
            size: image.compressed,
            limit_mb: self.max_size_mb,
            largest: largest.join(", "),
        })
    }

    fn built(&self, planned: &PlannedImage, image: &Image, base: Option<ResolvedBase>) -> BuiltImage {
        let PlannedImage { worker, variant, .. } = planned;
        BuiltImage {
            worker: worker.clone(),
            digest: image.manifest.digest().to_string(),
            platform: self.platform.to_string(),
            compressed: image.compressed,
            unpacked: image.unpacked,
            functions: self.manifest.functions_of(worker).map(|function| function.call_name()).collect(),
            binary: BuiltBinary {
                target: variant.target.triple.clone(),
                profile: self.profile.clone(),
                features: variant.features.iter().cloned().collect(),
                target_cpu: variant.target_cpu.clone(),
                cuda: variant.capabilities.as_ref().map(|known| known.iter().copied().collect()),
            },
            base,
            reference: None,
        }
    }
}

/// Tells the worker where its model is.
fn model_variable(model: &DataLayer) -> (String, String) {
    (variables::MODEL_DIR.to_owned(), format!("/{}", model.directory))
}

impl Platform {
    /// As in image formats.
    pub(super) fn of_image(self) -> oci_spec::image::Platform {
        let architecture = match self {
            Self::Amd64 => Arch::Amd64,
            Self::Arm64 => Arch::ARM64,
        };
        PlatformBuilder::default()
            .os(Os::Linux)
            .architecture(architecture)
            .build()
            .expect("a platform of system and architecture is whole")
    }
}
