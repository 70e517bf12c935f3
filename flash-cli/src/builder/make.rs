//! The last steps of a build: assemble, verify, record.
use std::time::Instant;

use flash_image::{
    Base, Image, Layout, LayoutError, Verifier,
    registry::{self, Logins, Registry, RetryPolicy},
};
use flash_text::error_chain;
use oci_spec::image::{Descriptor, Digest, ImageManifest};
use serde::Serialize;

use super::{
    cuda::DEFAULT_BASE,
    images::{Assembled, ImageSources},
    materials,
    plan::{Plan, Variant},
    progress::BlobProgress,
    record::{BuildDirectory, Record},
    request::{Materials, Sources},
    steps::{Build, Compiled, commit, counted, on_thread, seconds},
};
use crate::exit::{Failure, FailureCode};

/// How long the steps took, in seconds.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub(crate) struct StepSeconds {
    /// Compiling, and reading the app's manifest.
    pub compile: f64,
    pub assemble: f64,
    pub verify: f64,
    /// 0 if nothing was pushed.
    pub push: f64,
}

/// The result of a build.
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
    /// When a step fails; the images and the record of the previous build are then kept.
    pub(crate) async fn make(&self) -> Result<Built, Failure> {
        let started = Instant::now();
        let compiled = self.compile_all().await?;
        if self.request.sources == Sources::Committed {
            // A file may have been saved while cargo was running.
            commit(self.package, self.request.sources, self.output).await?;
        }
        let mut seconds = StepSeconds { compile: started.elapsed().as_secs_f64(), ..StepSeconds::default() };
        let layout = Layout::create(&self.directory.images())
            .map_err(|error| Failure::of(FailureCode::Failed, &error))?;
        let base = self.cuda_base(&compiled.plan, &layout).await?;
        let assembled = self.assemble(&compiled, base.clone(), &layout, &mut seconds).await?;
        self.verify(&assembled.images, &layout, &mut seconds).await?;
        let mut record =
            Record::new(compiled.manifest.clone(), self.git.clone(), self.toolchain.version.clone());
        record.images = assembled.built;
        self.list_materials(compiled).await?;
        let built =
            Built { seconds, record, directory: self.directory.clone(), layout, images: assembled.images };
        self.publish(&built, base)?;
        Ok(built)
    }

    async fn assemble(
        &self,
        compiled: &Compiled,
        cuda_base: Option<CudaBase>,
        layout: &Layout,
        seconds: &mut StepSeconds,
    ) -> Result<Assembled, Failure> {
        let programs = compiled.binaries.iter();
        let sources = ImageSources {
            directory: self.package.directory.clone(),
            binary: self.package.binary.clone(),
            manifest: compiled.manifest.clone(),
            binaries: programs.map(|(variant, built)| (variant.clone(), built.program.clone())).collect(),
            cuda_base: cuda_base.map(|base| base.base),
            platform: self.platform,
            user: self.config.build.user.clone(),
            max_size_mb: self.config.build.max_size_mb,
            profile: self.request.profile.clone(),
        };
        let (plan, into) = (compiled.plan.clone(), layout.clone());
        let count = counted(plan.images.len(), "image");
        let (started, _shown) = (Instant::now(), self.output.activity("Assembling", &count));
        let assembled = on_thread(move || sources.assemble(&plan, &into)).await??;
        for left_out in &assembled.left_out {
            self.output.warning(&left_out.to_string());
        }
        seconds.assemble = started.elapsed().as_secs_f64();
        self.output.status("Assembled", &format!("{count} ({:.1} s)", seconds.assemble));
        Ok(assembled)
    }

    async fn verify(
        &self,
        images: &[Image],
        layout: &Layout,
        seconds: &mut StepSeconds,
    ) -> Result<(), Failure> {
        let count = counted(images.len(), "image");
        let (started, _shown) = (Instant::now(), self.output.activity("Verifying", &count));
        let (images, layout) = (images.to_vec(), layout.clone());
        on_thread(move || {
            let mut verifier = Verifier::new(&layout);
            images.iter().try_for_each(|image| verifier.verify(image))
        })
        .await??;
        seconds.verify = started.elapsed().as_secs_f64();
        self.output.status("Verified", &format!("{count} ({:.1} s)", seconds.verify));
        Ok(())
    }

    /// Writes bills of materials beside those of the previous build; without any, there are none.
    async fn list_materials(&self, compiled: Compiled) -> Result<(), Failure> {
        let (package, directory) = (self.package.clone(), self.directory.clone());
        let Compiled { plan, binaries, .. } = compiled;
        let listed = match self.request.materials {
            Materials::Listed => plan.images,
            Materials::LeftOut => Vec::new(),
        };
        let images: Vec<(String, Variant)> =
            listed.into_iter().map(|image| (image.worker, image.variant)).collect();
        Ok(on_thread(move || materials::write(&package, &directory, &images, &binaries)).await??)
    }

    /// Pulls the base of images with CUDA, if the plan has any.
    async fn cuda_base(&self, plan: &Plan, layout: &Layout) -> Result<Option<CudaBase>, Failure> {
        if plan.images.iter().all(|image| image.variant.capabilities.is_none()) {
            return Ok(None);
        }
        let started = Instant::now();
        let name = match &self.config.build.cuda_base {
            Some(name) => name.clone(),
            None => registry::reference(DEFAULT_BASE)?,
        };
        let from = Registry::of(&name, Logins::of_user(None), RetryPolicy::default())?;
        let bar = self.output.progress("Pulling", &name.whole());
        let blobs = BlobProgress::default();
        let progress = |progress: registry::Progress| blobs.show(progress, &bar);
        let pulled = registry::pull(&from, layout, &name, &self.platform.of_image(), &progress).await?;
        drop(bar);
        let (digest, time) = (pulled.digest, seconds(started.elapsed()));
        self.output.status("Pulled", &format!("{}@{digest} ({time})", name.whole()));
        let manifest: ImageManifest =
            layout.read_json(&pulled.manifest).map_err(|error| Failure::of(FailureCode::Failed, &error))?;
        let own = [digest, pulled.manifest.digest().clone(), manifest.config().digest().clone()];
        Ok(Some(CudaBase { own, base: Base::Image { manifest: pulled.manifest, reference: name.whole() } }))
    }

    /// Publishes a build: index, record, bills of materials. Only then is everything it does not need removed.
    fn publish(&self, built: &Built, base: Option<CudaBase>) -> Result<(), Failure> {
        let failed = |error: LayoutError| Failure::of(FailureCode::Failed, &error);
        let manifests: Vec<_> = built.images.iter().map(|image| image.manifest.clone()).collect();
        built.layout.set_index(&manifests).map_err(failed)?;
        built.record.save(&self.directory)?;
        self.directory.take_new_sboms()?;
        // A base named by its digest can then be used without a network by the next build.
        let own = base.iter().flat_map(|base| &base.own);
        let kept = built.images.iter().flat_map(blobs).map(Descriptor::digest).chain(own);
        if let Err(error) = built.layout.keep_only(kept) {
            self.output.warning(&format!("cannot remove unused files: {}", error_chain(&error)));
        }
        // They are in the images now. The next build removes what is left.
        let _ = std::fs::remove_dir_all(self.directory.binaries());
        Ok(())
    }
}

/// The base of images with CUDA.
#[derive(Clone)]
struct CudaBase {
    base: Base,
    /// Its blobs other than layers: index or manifest by its name, manifest, config.
    own: [Digest; 3],
}

/// All blobs of an image.
fn blobs(image: &Image) -> impl Iterator<Item = &Descriptor> {
    let layers = image.layers.iter().map(|layer| &layer.descriptor);
    [&image.manifest, &image.config].into_iter().chain(&image.base_layers).chain(layers)
}
