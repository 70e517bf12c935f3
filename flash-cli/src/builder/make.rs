//! The last steps of a build: assemble, verify, record.
use std::{collections::BTreeMap, time::Instant};

use flash_image::{DataLayer, Image, Layout, LayoutError, Verifier};
use flash_text::error_chain;
use oci_spec::image::Descriptor;
use serde::Serialize;

use super::{
    bases::Bases,
    images::{Assembled, ImageSources},
    materials,
    plan::Variant,
    record::{BuildDirectory, Record},
    request::{Materials, Sources},
    steps::{Build, Compiled, commit, counted, on_thread},
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
        let layout = Layout::create(&self.directory.images())
            .map_err(|error| Failure::of(FailureCode::Failed, &error))?;
        self.check_bases(&layout).await?;
        self.check_models().await?;
        let external = self.program_images().await?;
        let compiled = self.compile_all().await?;
        if self.request.sources == Sources::Committed {
            // A file may have been saved while cargo was running.
            commit(self.package, self.request.sources, self.output).await?;
        }
        let mut seconds = StepSeconds { compile: started.elapsed().as_secs_f64(), ..StepSeconds::default() };
        let bases = self.bases(&compiled.plan, &layout).await?;
        let models = self.models(&compiled.manifest).await?;
        let assembled = self.assemble(&compiled, bases.clone(), models, &layout, &mut seconds).await?;
        self.verify(&assembled.images, &layout, &mut seconds).await?;
        self.check_needs(&compiled.plan, &assembled.images, &layout).await?;
        let mut record =
            Record::new(compiled.manifest.clone(), self.git.clone(), self.toolchain.version.clone());
        record.images = assembled.built;
        record.external = external;
        record.bases = bases.to_record(&self.last_bases(), &self.base_names());
        self.list_materials(compiled).await?;
        let built =
            Built { seconds, record, directory: self.directory.clone(), layout, images: assembled.images };
        self.publish(&built, &bases)?;
        Ok(built)
    }

    async fn assemble(
        &self,
        compiled: &Compiled,
        bases: Bases,
        models: BTreeMap<String, DataLayer>,
        layout: &Layout,
        seconds: &mut StepSeconds,
    ) -> Result<Assembled, Failure> {
        let programs = compiled.binaries.iter();
        let sources = ImageSources {
            directory: self.package.directory.clone(),
            binary: self.package.binary.clone(),
            manifest: compiled.manifest.clone(),
            binaries: programs.map(|(variant, built)| (variant.clone(), built.program.clone())).collect(),
            bases,
            platform: self.platform,
            user: self.config.build.user.clone(),
            max_size_mb: self.config.build.max_size_mb,
            profile: self.request.profile.clone(),
            models,
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

    /// Publishes a build: index, record, bills of materials. Only then is everything it does not need removed.
    fn publish(&self, built: &Built, bases: &Bases) -> Result<(), Failure> {
        let failed = |error: LayoutError| Failure::of(FailureCode::Failed, &error);
        let manifests: Vec<_> = built.images.iter().map(|image| image.manifest.clone()).collect();
        built.layout.set_index(&manifests).map_err(failed)?;
        built.record.save(&self.directory)?;
        self.directory.take_new_sboms()?;
        // The next build can then use the same bases without a network.
        let kept = built.images.iter().flat_map(blobs).map(Descriptor::digest).chain(bases.own_blobs());
        if let Err(error) = built.layout.keep_only(kept) {
            self.output.warning(&format!("cannot remove unused files: {}", error_chain(&error)));
        }
        // They are in the images now. The next build removes what is left.
        let _ = std::fs::remove_dir_all(self.directory.binaries());
        Ok(())
    }
}

/// All blobs of an image.
fn blobs(image: &Image) -> impl Iterator<Item = &Descriptor> {
    let layers = image.layers.iter().map(|layer| &layer.descriptor);
    [&image.manifest, &image.config].into_iter().chain(&image.base_layers).chain(layers)
}
