//! The base images of a build: pulled once each, by the digest that the last build recorded for their names.
use std::{collections::BTreeMap, time::Instant};

use flash_image::{
    Base, Layout,
    registry::{self, Logins, Registry, RegistryError, RetryPolicy},
};
use oci_spec::{
    distribution::Reference,
    image::{Digest, ImageManifest},
};

use super::{
    cuda::DEFAULT_BASE,
    plan::{Plan, PlannedBase},
    progress::BlobProgress,
    record::{Record, ResolvedBase},
    request::BaseTags,
    steps::{Build, seconds},
};
use crate::exit::{Failure, FailureCode};

/// The bases of a build, by the names of the images.
#[derive(Clone, Default)]
pub(super) struct Bases(BTreeMap<String, PulledBase>);

/// A base in the layout.
#[derive(Clone)]
struct PulledBase {
    base: Base,
    resolved: ResolvedBase,
    /// Its blobs other than layers: index or manifest by its name, manifest, config.
    own: [Digest; 3],
}

/// A base to pull.
struct WantedBase {
    /// In full, as in flash.toml.
    name: String,
    /// Whose images it is for, such as `` `a`, `b` ``.
    workers: String,
    /// Whether its digest is that of an earlier build.
    is_recorded: bool,
    /// By digest, if that is known.
    from: Reference,
}

impl WantedBase {
    fn registry(&self) -> Result<Registry, BaseError> {
        Registry::of(&self.from, Logins::of_user(None), RetryPolicy::default())
            .map_err(|error| self.failed(error))
    }

    /// Whether the layout has the manifest, and so the base of an earlier build.
    fn is_in(&self, layout: &Layout) -> bool {
        let digest = self.from.digest().and_then(|digest| digest.parse::<Digest>().ok());
        digest.is_some_and(|digest| layout.blob(&digest).is_file())
    }

    fn failed(&self, source: RegistryError) -> BaseError {
        let (name, workers) = (self.name.clone(), self.workers.clone());
        BaseError { name, workers, is_recorded: self.is_recorded, source }
    }
}

/// Why a base is not there.
#[derive(Debug, thiserror::Error)]
#[error("cannot pull base image {name} of {workers}")]
pub(crate) struct BaseError {
    name: String,
    /// Whose images it is for, such as `` `a`, `b` ``.
    workers: String,
    /// Whether the digest is that of an earlier build.
    is_recorded: bool,
    source: RegistryError,
}

impl BaseError {
    /// What to do next, if known.
    pub(super) fn hint(&self) -> Option<String> {
        match &self.source {
            RegistryError::NotFound { .. } if self.is_recorded => Some(
                "the image of the last build is gone; to use what the tag names now: flash build --update-base"
                    .to_owned(),
            ),
            other => other.hint(),
        }
    }
}

impl Bases {
    /// The base of a planned image, and what its name was resolved to.
    pub(super) fn of(&self, planned: Option<&PlannedBase>) -> (Base, Option<ResolvedBase>) {
        let Some(planned) = planned else { return (Base::Scratch, None) };
        let pulled = self.0.get(&name_of(planned)).expect("every base of the plan was pulled");
        (pulled.base.clone(), Some(pulled.resolved.clone()))
    }

    /// The digests to use again: of this build, and those of the last one for names that are still in use.
    pub(super) fn to_record(&self, last: &[ResolvedBase], names_in_use: &[String]) -> Vec<ResolvedBase> {
        let own = self.0.values().map(|pulled| pulled.resolved.clone());
        let is_kept =
            |known: &&ResolvedBase| names_in_use.contains(&known.name) && !self.0.contains_key(&known.name);
        let mut all: Vec<ResolvedBase> = own.chain(last.iter().filter(is_kept).cloned()).collect();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        all
    }

    /// Blobs of the layout that the next build needs to find its bases without a network.
    pub(super) fn own_blobs(&self) -> impl Iterator<Item = &Digest> {
        self.0.values().flat_map(|pulled| &pulled.own)
    }
}

/// The full name of a base, as it is recorded.
fn name_of(base: &PlannedBase) -> String {
    match base {
        PlannedBase::Cuda(Some(name)) | PlannedBase::Own(name) => name.whole(),
        PlannedBase::Cuda(None) => DEFAULT_BASE.to_owned(),
    }
}

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
            bases.0.insert(name, pulled);
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

#[cfg(test)]
mod tests {
    use super::*;

    fn resolved(name: &str, digest: &str) -> ResolvedBase {
        ResolvedBase { name: name.to_owned(), digest: digest.to_owned() }
    }

    #[test]
    fn a_build_of_some_worker_types_keeps_the_digests_of_the_others() {
        let last = [resolved("debian:12", "sha256:1"), resolved("gone:1", "sha256:2")];
        let bases = Bases::default();
        assert_eq!(bases.to_record(&last, &["debian:12".to_owned(), "new:1".to_owned()]), last[..1]);
    }
}
