//! Pulls the base images of a build, each once: by the digest that the last build recorded for its name.
use std::{collections::BTreeMap, time::Instant};

use flash_image::{
    Base, Layout,
    registry::{self, RegistryError},
};
use oci_spec::{distribution::Reference, image::ImageManifest};

use super::{
    bases::{Bases, PulledBase, WantedBase, name_of},
    cuda::DEFAULT_BASE,
    plan::Plan,
    progress::BlobProgress,
    record::{Record, ResolvedBase},
    request::BaseTags,
    steps::{Build, seconds},
};
use crate::exit::{Failure, FailureCode};

impl Build<'_> {
    /// Pulls the bases of a plan.
    ///
    /// # Errors
    /// When one of them cannot be pulled.
    pub(super) async fn bases(&self, plan: &Plan, layout: &Layout) -> Result<Bases, Failure> {
        let mut workers: BTreeMap<String, Vec<&str>> = BTreeMap::new();
        for image in &plan.images {
            if let Some(base) = &image.base {
                workers.entry(name_of(base)).or_default().push(&image.worker);
            }
        }
        let mut bases = Bases::default();
        for (name, workers) in workers {
            let pulled = self.pull_base(&name, &workers, layout).await?;
            bases.add(pulled);
        }
        Ok(bases)
    }

    /// The digests of the last build's bases; none if there was no build.
    pub(super) fn last_bases(&self) -> Vec<ResolvedBase> {
        // A damaged record is replaced by this build's.
        Record::load(&self.directory).map(|record| record.bases).unwrap_or_default()
    }

    /// The names of all bases that a build of this project may have.
    pub(super) fn base_names(&self) -> Vec<String> {
        let own = self.config.build.bases().map(Reference::whole);
        own.chain([DEFAULT_BASE.to_owned()]).collect()
    }

    /// Whether the bases that worker types name can be pulled, looked at before anything is compiled.
    ///
    /// # Errors
    /// For the first that cannot.
    pub(super) async fn check_bases(&self, layout: &Layout) -> Result<(), Failure> {
        let selected = &self.request.selection.workers;
        for (worker, base) in self.config.build.own_bases() {
            if !selected.is_empty() && !selected.iter().any(|name| name == worker) {
                continue;
            }
            let wanted = self.wanted(&base.whole(), &[worker])?;
            if wanted.is_in(layout) {
                continue;
            }
            let registry = wanted.registry()?;
            match registry::image_exists(&registry, &wanted.from).await {
                Ok(true) => {}
                Ok(false) => {
                    let image = wanted.from.whole();
                    return Err(wanted.failed(RegistryError::NotFound { image }).into());
                }
                Err(error) => return Err(wanted.failed(error).into()),
            }
        }
        Ok(())
    }

    fn wanted(&self, name: &str, workers: &[&str]) -> Result<WantedBase, Failure> {
        let said = registry::reference(name)?;
        let recorded = match (said.digest(), self.request.base_tags) {
            (None, BaseTags::AsRecorded) => self.last_bases().into_iter().find(|last| last.name == name),
            _ => None,
        };
        let is_recorded = recorded.is_some();
        let from = match recorded {
            Some(last) => said.clone_with_digest(last.digest),
            None => said,
        };
        let workers = format!("`{}`", workers.join("`, `"));
        Ok(WantedBase { name: name.to_owned(), workers, is_recorded, from })
    }

    async fn pull_base(&self, name: &str, workers: &[&str], layout: &Layout) -> Result<PulledBase, Failure> {
        let started = Instant::now();
        let wanted = self.wanted(name, workers)?;
        let registry = wanted.registry()?;
        let bar = self.output.progress("Pulling", name);
        let blobs = BlobProgress::default();
        let progress = |progress: registry::Progress| blobs.show(progress, &bar);
        let pulled = registry::pull(&registry, layout, &wanted.from, &self.platform.of_image(), &progress)
            .await
            .map_err(|error| wanted.failed(error))?;
        drop(bar);
        let digest = &pulled.digest;
        let shown = if name.contains('@') { name.to_owned() } else { format!("{name}@{digest}") };
        match (pulled.downloaded, wanted.is_recorded) {
            (0, true) => self.output.status("Reused", &format!("{shown}, as in the last build")),
            (0, false) => self.output.status("Reused", &shown),
            _ => self.output.status("Pulled", &format!("{shown} ({})", seconds(started.elapsed()))),
        }
        let manifest: ImageManifest =
            layout.read_json(&pulled.manifest).map_err(|error| Failure::of(FailureCode::Failed, &error))?;
        Ok(PulledBase {
            resolved: ResolvedBase { name: name.to_owned(), digest: digest.to_string() },
            own: [digest.clone(), pulled.manifest.digest().clone(), manifest.config().digest().clone()],
            base: Base::Image { manifest: pulled.manifest, reference: name.to_owned() },
        })
    }
}
